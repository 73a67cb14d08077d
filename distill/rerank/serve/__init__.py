"""A student behind HTTP: `distill serve`."""
