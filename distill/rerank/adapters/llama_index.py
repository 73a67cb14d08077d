"""LlamaIndex: a student as a node postprocessor, in a query engine's `node_postprocessors` (llama-index-core 0.14)."""

from __future__ import annotations

from typing import Any

from distill.rerank.adapters import judge, missing

try:
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.schema import MetadataMode, NodeWithScore
    from pydantic import Field
except ImportError as error:
    raise missing("llama-index-core", error) from None


class RerankPostprocessor(BaseNodePostprocessor):
    """Keeps the `top_n` best nodes (all where None); their score is the student's, the retriever's stays in the node's
    metadata as `retrieval_score`."""

    reranker: Any = Field(exclude=True)
    top_n: int | None = 5
    instruction: str | None = None

    @classmethod
    def class_name(cls) -> str:
        """The name that LlamaIndex files it under."""
        return "RerankPostprocessor"

    def _postprocess_nodes(self, nodes: list[NodeWithScore], query_bundle: Any = None) -> list[NodeWithScore]:
        if query_bundle is None:
            raise ValueError("a reranker needs the query: postprocess_nodes(nodes, query_str=...)")
        texts = [node.node.get_content(metadata_mode=MetadataMode.EMBED) for node in nodes]
        found = judge(self.reranker, query_bundle.query_str, texts, self.instruction)
        order = sorted(range(len(found)), key=lambda at: -found[at].margin)[: self.top_n]
        for at in order:
            nodes[at].node.metadata["retrieval_score"] = nodes[at].score
        return [NodeWithScore(node=nodes[at].node, score=found[at].score) for at in order]
