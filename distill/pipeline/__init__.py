"""The pipeline: the stages, the run folder, the whole configuration, rounds and ablations. Called by `distill.cli`."""
