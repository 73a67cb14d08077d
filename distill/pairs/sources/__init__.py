"""One file a source, each behind the protocol `base.Source`."""
