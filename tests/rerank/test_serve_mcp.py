"""The tools of MCP, called by the official SDK's own client: in this process, and over standard input and output."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp", reason='needs the extra "mcp"')

import mcp
from mcp.client.stdio import StdioServerParameters

from distill.cli import main
from distill.rerank.reranker import Reranker
from distill.rerank.serve.mcp import tools
from distill.rerank.serve.settings import ServeSettings
from distill.rerank.serve.students import Served, Students
from tests.rerank.serving import Scripted, score_of

QUERY, TEXTS = "what is a fox", ["the sea", "a fox is an animal", "foxes run"]
BEST = sorted(((score_of(QUERY, text), at) for at, text in enumerate(TEXTS)), reverse=True)


def test_the_tools_answer_as_the_routes_do() -> None:
    students = Students([Served(Scripted(), "my-student", "think")], ServeSettings(max_documents=3))

    async def asked() -> None:
        async with mcp.Client(tools(students, ServeSettings(max_documents=3))) as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == ["rerank", "explain"]
            given: dict[str, Any] = {"query": QUERY, "documents": TEXTS, "top_n": 2}
            answer = (await client.call_tool("rerank", given)).structured_content
            assert [(row["relevance_score"], row["index"]) for row in answer["results"]] == BEST[:2]
            answer = (await client.call_tool("explain", {"query": QUERY, "document": TEXTS[0]})).structured_content
            assert answer["reasoning"] == "because" and answer["relevance_score"] == score_of(QUERY, TEXTS[0])
            for wrong, said in (
                ({"documents": TEXTS * 2}, "6 documents; at most 3"),
                ({"model": "other"}, "no model 'other'"),
                ({"top_n": 0}, "top_n"),
            ):
                refused = await client.call_tool("rerank", given | wrong)
                assert refused.is_error and said in refused.content[0].text

    students.start()
    try:
        asyncio.run(asked())
    finally:
        students.stop()


def test_without_the_package_it_says_what_to_install(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("distill.rerank.serve.cli.find_spec", lambda name: None)
    assert main(["serve", "--model", str(tiny), "--mcp"]) == 2
    assert 'pip install "rerank-distill[mcp]"' in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_speaks_it_over_standard_input_and_output(tiny: Path) -> None:
    command = ["-m", "distill.cli", "serve", "--model", str(tiny), "--mode", "direct", "--mcp"]
    server = StdioServerParameters(command=sys.executable, args=command, env=dict(os.environ))

    async def asked() -> Any:
        async with mcp.Client(server) as client:
            return (await client.call_tool("rerank", {"query": "red fox", "documents": TEXTS})).structured_content

    answer = asyncio.run(asked())
    expected = Reranker(str(tiny), "direct").rank("red fox", TEXTS)
    assert [row["index"] for row in answer["results"]] == [each.index for each in expected]
    assert [row["relevance_score"] for row in answer["results"]] == pytest.approx(
        [each.score for each in expected], abs=1e-4
    )
