"""A GGUF export in llama.cpp: the student's own log-odds, with tiny students and with real weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("gguf", reason='GGUF files need the extra "gguf"')

from distill.cli import main
from distill.rerank.exports.base import check_pairs, check_rows, own_margins, student_of
from tests.llama_server import llama_server
from tests.rerank.vllm_server import post

ROOT = Path(__file__).resolve().parents[2]


def margins(url: str, rows: list[list[int]], words: tuple[int, ...], vocabulary: int) -> list[float]:
    """The log-odds of two tokens after each row of ids, by llama.cpp's own /completion."""
    found = []
    for row in rows:
        body = {"prompt": row, "n_predict": 1, "temperature": 0, "n_probs": vocabulary, "cache_prompt": False}
        listed = post(f"{url.removesuffix('/v1')}/completion", body)["completion_probabilities"][0]["top_logprobs"]
        by_id = {token["id"]: token["logprob"] for token in listed}
        found.append(by_id[words[0]] - by_id[words[-1]])
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("to", "file", "kind", "tolerance"),
    [
        ("gguf", "model-f16.gguf", "llama", 1e-2),
        ("gguf", "model-f16.gguf", "qwen2", 1e-2),
        ("gguf-q8_0", "model-q8_0.gguf", "qwen2", 0.1),
    ],
)
def test_llama_cpp_gives_the_students_margins(
    to: str, file: str, kind: str, tolerance: float, students: Callable[..., Path], tmp_path: Path
) -> None:
    folder, out = students("rank1", "direct", kind == "llama", 3, kind), tmp_path / "out"
    assert main(["export", str(folder), "--to", to, "--out", str(out)]) == 0
    student = student_of(folder)
    pairs = check_pairs(student.form)
    with llama_server(out / file) as url:
        theirs = margins(url, check_rows(student.form, pairs), student.form.verdicts, len(student.form.tokenizer))
    assert theirs == pytest.approx(own_margins(student, pairs), abs=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["smollm2-135m", "qwen-0.5b"])
def test_real_weights_in_llama_cpp(name: str, tmp_path: Path) -> None:
    """To 1e-2 in 16 bits."""
    folder, out = ROOT / "models" / name, tmp_path / "out"
    if not folder.is_dir():
        pytest.skip(f"needs the real base at {folder} (make real-base)")
    assert main(["export", str(folder), "--to", "gguf", "--out", str(out)]) == 0
    student = student_of(folder)
    pairs = check_pairs(student.form)[:12]
    with llama_server(out / "model-f16.gguf") as url:
        theirs = margins(url, check_rows(student.form, pairs), student.form.verdicts, len(student.form.tokenizer))
    own = own_margins(student, pairs)
    worst = max(abs(one - other) for one, other in zip(theirs, own, strict=True))
    print(f"{name}: {len(pairs)} texts, llama.cpp's margins differ by at most {worst:.1e}")
    assert worst < 1e-2
