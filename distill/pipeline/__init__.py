"""The line: what each stage does, and where a run's folder, sources, pairs, rounds and ablations come together."""
