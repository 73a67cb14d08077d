"""A GGUF export in llama.cpp: the student's own log-odds, with tiny students."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("gguf", reason='GGUF files need the extra "gguf"')

from distill.cli import main
from distill.rerank.exports.base import check_pairs, check_rows, own_margins, student_of
from tests.llama_server import llama_server
from tests.rerank.vllm_server import post


def margins(url: str, rows: list[list[int]], words: tuple[int, ...], vocabulary: int) -> list[float]:
    """The log-odds of two tokens after each row of ids, by llama.cpp's own /completion."""
    found = []
    for row in rows:
        body = {"prompt": row, "n_predict": 1, "temperature": 0, "n_probs": vocabulary, "cache_prompt": False}
        body["logit_bias"] = [[words[0], 1000.0]]  # sampled, so that there is a text; probabilities are those before
        listed = post(f"{url.removesuffix('/v1')}/completion", body)["completion_probabilities"][0]["top_logprobs"]
        by_id = {token["id"]: token["logprob"] for token in listed}
        found.append(by_id[words[0]] - by_id[words[-1]])
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("to", "file", "kind", "tolerance"),  # llama.cpp keeps its cache in 16 bits
    [
        ("gguf", "model-f16.gguf", "llama", 0.03),
        ("gguf", "model-f16.gguf", "llama3", 0.03),
        ("gguf", "model-f16.gguf", "qwen2", 0.03),
        ("gguf", "model-f16.gguf", "linear", 0.03),
        ("gguf", "model-f16.gguf", "qwen3", 0.03),
        ("gguf-q8_0", "model-q8_0.gguf", "qwen2", 0.4),
    ],
)
def test_llama_cpp_gives_the_students_margins(
    to: str, file: str, kind: str, tolerance: float, students: Callable[..., Path], tmp_path: Path
) -> None:
    folder, out = students("rank1", "direct", kind.startswith("llama"), 3, kind), tmp_path / "out"
    assert main(["export", str(folder), "--to", to, "--out", str(out)]) == 0
    student = student_of(folder)
    pairs = check_pairs(student.form)
    with llama_server(out / file) as url:
        theirs = margins(url, check_rows(student.form, pairs), student.form.verdicts, len(student.form.tokenizer))
    own = own_margins(student, pairs)
    assert theirs == pytest.approx(own, abs=tolerance)
