"""The filters, one a file, which decide what a student may learn from; `engine` runs them, the pipeline calls it."""
