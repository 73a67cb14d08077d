"""TREC's Deep Learning tracks (DL19, DL20) in BEIR's layout."""

from __future__ import annotations

from distill.evaluation.suites.beir import Beir


class DeepLearning(Beir):
    """Its grade 1 is "related": passages count as relevant from grade 2."""

    kind = "dl19"
