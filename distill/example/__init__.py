"""The embedded example: a small world, its labelled pairs and its rule-based teacher behind real HTTP."""
