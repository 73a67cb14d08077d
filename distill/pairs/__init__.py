"""Where pairs come from: sources read into collections, negatives mined, pairs built."""
