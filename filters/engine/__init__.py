"""Runs the filters: over folders (`run`), on a cluster (`ray_data`), for one pair (`explain`), for the pipeline."""
