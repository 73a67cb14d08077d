"""The embedded example: the pipeline writes its world out as a BEIR folder, which is read here."""

from __future__ import annotations

from distill.pairs.sources.beir import Beir


class Example(Beir):
    """The folder that `distill.example.world` wrote."""
