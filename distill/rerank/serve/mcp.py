"""The student as tools of the Model Context Protocol, on standard input and output: `distill serve --mcp`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import Any, TypeVar

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import ValidationError

from distill import __version__
from distill.rerank.serve.faults import Refused, in_plain_words
from distill.rerank.serve.judge import Judged, explain_answer, judged, rerank_answer
from distill.rerank.serve.schemas import Asked, ExplainRequest, RerankBody
from distill.rerank.serve.settings import ServeSettings
from distill.rerank.serve.students import Served, Students

Body = TypeVar("Body", bound=Asked)


def serve_mcp(served: Sequence[Served], settings: ServeSettings) -> None:
    """Answer calls of the tools until standard input ends."""
    students = Students(served, settings)
    students.start()
    try:
        asyncio.run(tools(students, settings).run_stdio_async())
    finally:
        students.stop()


def tools(students: Students, settings: ServeSettings) -> MCPServer:
    """A server with the tools `rerank` and `explain`, whose answers are those of the HTTP routes."""
    server = MCPServer("rerank-distill", version=__version__, log_level="WARNING")

    async def answer(body: type[Body], given: dict[str, Any], explain: bool = False) -> tuple[Body, Judged]:
        began = monotonic()
        try:
            asked = body.model_validate({key: value for key, value in given.items() if value is not None})
            return asked, await judged(students, settings, asked, began, explain=explain)
        except ValidationError as error:
            raise ToolError(in_plain_words(error)) from None
        except Refused as refused:
            raise ToolError(refused.message) from None

    @server.tool()
    async def rerank(
        query: str,
        documents: list[str],
        top_n: int | None = None,
        instruction: str | None = None,
        budget_ms: float | None = None,
        model: str | None = None,
    ) -> dict[str, Any]:
        """Order documents by their relevance to a query, the best first.

        `results` holds `index` (into the documents given), `relevance_score` (0 to 1) and `mode` of each. `instruction`
        says who wants what, in addition to the query; `budget_ms` bounds the milliseconds that the answer may take.
        """
        given: dict[str, Any] = {"query": query, "documents": documents, "top_n": top_n, "instruction": instruction}
        given |= {"budget_ms": budget_ms, "model": model, "return_documents": False}
        return rerank_answer(*await answer(RerankBody, given), version=2)

    @server.tool()
    async def explain(
        query: str, document: str, instruction: str | None = None, model: str | None = None
    ) -> dict[str, Any]:
        """Say whether a document is relevant to a query, and why: verdict, `relevance_score` (0 to 1) and reasoning."""
        given = {"query": query, "document": document, "instruction": instruction, "model": model}
        return explain_answer(*await answer(ExplainRequest, given, explain=True))

    return server
