"""What a student may learn from: one file a filter, and the funnel that runs them."""
