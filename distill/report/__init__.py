"""The report and the trace viewer: what a run did, from its folder on disk alone."""
