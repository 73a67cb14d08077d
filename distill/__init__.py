"""Distil reasoning rerankers from an R1-class teacher: pairs in, traces kept, students and a report out."""

__version__ = "0.1.0"
