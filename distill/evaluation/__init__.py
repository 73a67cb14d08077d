"""What the numbers mean: runs, measures, intervals."""
