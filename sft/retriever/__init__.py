"""Students of `target: retriever`: bi-encoders that follow instructions, trained with sentence-transformers.

A folder of such a student loads by plain `SentenceTransformer(folder)`; `distill.retrieval` searches with it.
"""
