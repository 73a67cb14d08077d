"""LangChain: a student as a document compressor, as `ContextualCompressionRetriever` takes one (langchain-core 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distill.rerank.adapters import judge, missing

try:
    from langchain_core.documents import Document
    from langchain_core.documents.compressor import BaseDocumentCompressor
    from pydantic import ConfigDict
except ImportError as error:
    raise missing("langchain-core", error) from None


class RerankCompressor(BaseDocumentCompressor):
    """Keeps the `top_n` best documents (all where None), and of those only the ones of at least `threshold`.

    Each gets `relevance_score` in its metadata, and `reasoning` with `with_reasoning`.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    reranker: Any
    top_n: int | None = 5
    threshold: float | None = None
    instruction: str | None = None
    with_reasoning: bool = False

    def compress_documents(self, documents: Sequence[Document], query: str, callbacks: Any = None) -> list[Document]:
        """The documents that are kept, best first."""
        found = judge(self.reranker, query, [document.page_content for document in documents], self.instruction)
        order = sorted(range(len(found)), key=lambda at: -found[at].margin)
        kept = [at for at in order if self.threshold is None or found[at].score >= self.threshold][: self.top_n]
        return [
            Document(
                page_content=documents[at].page_content,
                id=documents[at].id,
                metadata={
                    **documents[at].metadata,
                    "relevance_score": found[at].score,
                    **({"reasoning": found[at].reasoning} if self.with_reasoning else {}),
                },
            )
            for at in kept
        ]
