"""Training: targets, packing, TRL, Ray Train, merge and export."""
