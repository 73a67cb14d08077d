"""A student in other tools' formats: what they load scores as the student does; what a format lacks is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill import store
from distill.cli import main
from distill.errors import InputError
from distill.prompts import END_THINK, as_data, student_prompt
from distill.rerank.exports import FORMATS, load, seq_cls
from distill.rerank.exports.base import AWKWARD, check_pairs, check_rows, own_margins, student_of
from distill.rerank.exports.template import chat_template, frames
from distill.rerank.reranker import Reranker
from distill.tables import markdown
from tests.rerank.tiny_students import load_file

Make = Callable[..., Path]
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("prompt", "target", "tied", "padded"),
    [
        ("rank1", "direct", True, 0),
        ("rank1", "mixed", False, 0),
        ("rank1", None, True, 37),
        ("delimited", "verdict_first", False, 5),
    ],
)
def test_a_classifier_has_the_students_margin(
    prompt: str, target: str | None, tied: bool, padded: int, students: Make, tmp_path: Path, capsys
) -> None:
    """The command checks it; here the files are read once more, padded on the other side, and joined as pairs."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder, out = students(prompt, target, tied, padded), tmp_path / "out"
    assert main(["export", str(folder), "--to", "seq-cls", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"100 texts, read by transformers: the margins differ .* at most \d\.\de-0[4-9]", printed)
    assert f"vllm serve {out} --runner pooling --chat-template {out}/chat_template.jinja" in printed
    student = student_of(folder)
    pairs = [replace(pair, instruction=None) for pair in check_pairs(student.form)[:24]]
    expected = own_margins(student, pairs)
    assert max(expected) - min(expected) > 0.1, "the students tell the texts apart"
    tokenizer: Any = AutoTokenizer.from_pretrained(out, padding_side="right")
    model: Any = AutoModelForSequenceClassification.from_pretrained(out).eval()
    assert model.config.num_labels == 1 and model.score.weight.shape == (1, 128)
    query, passage = frames(student.form)
    fields = [
        (
            query.replace("{query}", as_data(pair.query)).strip(),  # as Infinity does
            passage.replace("{passage}", as_data(pair.passage)).strip(),
        )
        for pair in pairs
    ]
    batch = tokenizer([one for one, _ in fields], [other for _, other in fields], padding=True, return_tensors="pt")
    with torch.inference_mode():
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, 0]
    assert logits.tolist() == pytest.approx(expected, abs=1e-3)
    assert json.loads((out / "config.json").read_text())["rope_theta"] == model.config.rope_parameters["rope_theta"]


def test_a_cross_encoder_ranks_as_the_student_does(students: Make, tmp_path: Path) -> None:
    """Loaded by its folder alone: no code of this project, none from the folder."""
    import torch

    sentence_transformers = pytest.importorskip("sentence_transformers", reason='needs the extra "dense"')
    folder, out = students("delimited", "direct", False, 3), tmp_path / "out"
    assert main(["export", str(folder), "--to", "cross-encoder", "--out", str(out)]) == 0
    model = sentence_transformers.CrossEncoder(str(out), trust_remote_code=False)
    passages = [pair.passage for pair in check_pairs(student_of(folder).form)[:20]]
    ours = Reranker(str(folder), "direct", "transformers", dtype="float32").rank("old maps", passages)
    theirs = model.rank("old maps", passages)
    assert [row["corpus_id"] for row in theirs] == [row.index for row in ours]
    assert [row["score"] for row in theirs] == pytest.approx([row.score for row in ours], abs=1e-4)
    noted = [
        row.judgement.margin for row in Reranker(model=str(folder), mode="direct").rank("q", passages[:3], "short")
    ]
    texts = [("q", passage) for passage in passages[:3]]
    said = model.predict(texts, prompt="short", activation_fn=torch.nn.Identity())
    assert sorted(said.tolist(), reverse=True) == pytest.approx(noted, abs=1e-3)


@pytest.mark.parametrize(
    ("to", "kind", "tied", "padded", "prompt", "target"),
    [
        ("gguf", "llama", True, 0, "rank1", "think"),
        ("gguf", "qwen2", False, 7, "graded_4", "direct"),
        ("gguf", "qwen3", True, 0, "delimited", "mixed"),
        ("gguf", "llama3", True, 0, "rank1", "direct"),
        ("gguf", "linear", False, 0, "rank1", "direct"),
        ("gguf-q8_0", "llama", False, 0, "rank1", "direct"),
    ],
)
def test_a_gguf_file_has_the_students_weights(
    to: str, kind: str, tied: bool, padded: int, prompt: str, target: str, students: Make, tmp_path: Path, capsys
) -> None:
    """The command reads it back by transformers; any student fits, thinking and graded ones too."""
    gguf = pytest.importorskip("gguf", reason='GGUF files need the extra "gguf"')
    folder, out = students(prompt, target, tied, padded, kind), tmp_path / "out"
    assert main(["export", str(folder), "--to", to, "--out", str(out)]) == 0
    assert "100 texts, read by transformers" in capsys.readouterr().out
    reader = gguf.GGUFReader(out / f"model-{'q8_0' if to == 'gguf-q8_0' else 'f16'}.gguf")
    types = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert ("output.weight" in types) is not tied and types["output_norm.weight"] == "F32"
    assert types["blk.1.attn_q.weight"] == ("Q8_0" if to == "gguf-q8_0" else "F16")
    assert f"--mode {'think' if target == 'think' else 'direct'} --backend openai" in (out / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "tied", "padded", "prompt"), [("llama", True, 0, "rank1"), ("qwen2", False, 5, "graded_10")]
)
def test_a_graph_has_the_students_margin(
    kind: str, tied: bool, padded: int, prompt: str, students: Make, tmp_path: Path, capsys
) -> None:
    """By the Python of its card, for texts of several lengths together."""
    pytest.importorskip("onnxscript", reason='ONNX graphs need the extra "onnx"')
    folder, out = students(prompt, "direct", tied, padded, kind), tmp_path / "out"
    assert main(["export", str(folder), "--to", "onnx", "--out", str(out)]) == 0
    assert re.search(r"read by onnxruntime: .* at most \d\.\de-0[4-9]", capsys.readouterr().out)
    (code,) = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(), re.S)
    file = tmp_path / "card.py"
    file.write_text(code.replace("THIS_FOLDER", str(out)))
    student = student_of(folder)
    pairs = [replace(pair, query="old maps", instruction=None) for pair in check_pairs(student.form)[:20]]
    margins = load_file(file).margins("old maps", [pair.passage for pair in pairs])
    assert margins.tolist() == pytest.approx(own_margins(student, pairs), abs=1e-3)


def test_a_gguf_of_another_architecture_is_refused(students: Make, tmp_path: Path, capsys) -> None:
    pytest.importorskip("gguf", reason='GGUF files need the extra "gguf"')
    folder = students("rank1", "direct", True, 0, "mistral")
    assert main(["export", str(folder), "--to", "gguf", "--out", str(tmp_path / "out")]) == 2
    assert "its architecture is mistral, and llama, qwen2, qwen3 are written" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("prompt", ["rank1", "delimited"])
def test_the_template_renders_what_the_student_reads(prompt: str, students: Make) -> None:
    """Whatever the texts hold; control tokens in them are broken as at work."""
    from transformers import AutoTokenizer

    student = student_of(students(prompt))
    tokenizer: Any = AutoTokenizer.from_pretrained(student.folder)
    tokenizer.chat_template = chat_template(student.form)
    pieces = st.sampled_from(["<", "|", "｜", ">", "[", "]", "/", "think", "INST", "x", "\n", "CLS", " ", *AWKWARD])
    texts = st.lists(pieces, max_size=9).map("".join)

    @settings(max_examples=150, deadline=None)
    @given(texts, texts, texts)
    def same(query: str, passage: str, instruction: str) -> None:
        query, passage, instruction = query.strip(), passage.strip(), instruction.strip()
        messages = [{"role": "query", "content": query}, {"role": "document", "content": passage}]
        expected = f"{student_prompt(query, passage, instruction or None, prompt)}\n{END_THINK}"
        assert tokenizer.apply_chat_template(messages, tokenize=False, instruction=instruction) == expected
        messages.insert(0, {"role": "system", "content": instruction})
        assert tokenizer.apply_chat_template(messages, tokenize=False) == expected

    same()


def test_the_checks_texts_hold_what_differs(students: Make) -> None:
    student = student_of(students())
    pairs = check_pairs(student.form)
    assert len(pairs) == 100 and sum(pair.instruction is not None for pair in pairs) == 25
    assert all(any(awkward.strip() in pair.passage for pair in pairs) for awkward in AWKWARD)
    assert len({tuple(row) for row in check_rows(student.form, pairs)}) == 100


@pytest.mark.parametrize("to", ["seq-cls", "cross-encoder"])
@pytest.mark.parametrize(
    ("prompt", "target", "reason", "nearest"),
    [
        ("rank1", "think", "its target is think", "serve it with vLLM by completions"),
        ("graded_4", "direct", "its prompt graded_4 has 5 grades", "export it --to onnx"),
    ],
)
def test_what_one_logit_cannot_hold_is_refused_with_what_works(
    to: str, prompt: str, target: str, reason: str, nearest: str, students: Make, tmp_path: Path, capsys
) -> None:
    assert main(["export", str(students(prompt, target)), "--to", to, "--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr().err
    assert reason in printed and nearest in printed and not list(tmp_path.iterdir())


def test_a_copy_that_scores_otherwise_is_refused_and_the_earlier_export_stays(
    students: Make, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = students(), tmp_path / "out"
    command = ["export", str(folder), "--to", "seq-cls", "--out", str(out)]
    assert main(command) == 0
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    exact = seq_cls.classifier

    def wrong(model: Any, student: Any, pad: int) -> Any:
        made = exact(model, student, pad)
        made.score.weight.data[0, 0] += 0.01
        return made

    monkeypatch.setattr(seq_cls, "classifier", wrong)
    assert main(command) == 2
    printed = capsys.readouterr().err
    assert "nothing was exported" in printed and "(allowed: 0.001)" in printed
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_tags_that_are_text_and_joined_are_refused(students: Make, tmp_path: Path, capsys) -> None:
    """Qwen's tokenizer makes one token of the tag's last sign and the line break after it."""
    from transformers import AutoTokenizer

    source = students()
    folder = tmp_path / "text"
    folder.mkdir()
    for path in source.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    content["added_tokens"] = [token for token in content["added_tokens"] if "think" not in token["content"]]
    vocabulary = content["model"]["vocab"]
    rare = max(vocabulary, key=vocabulary.get)
    vocabulary[">Ċ"] = vocabulary.pop(rare)
    content["model"]["merges"] = [m for m in content["model"]["merges"] if "".join(m) in vocabulary] + [[">", "Ċ"]]
    file.write_text(json.dumps(content))
    assert len(AutoTokenizer.from_pretrained(folder).encode(">\n")) == 1
    assert main(["export", str(folder), "--to", "seq-cls", "--out", str(tmp_path / "out")]) == 2
    assert "train the student with sft.think_tokens: added" in capsys.readouterr().err


def test_the_card_says_how_it_is_served_and_whether_it_was_checked(students: Make, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    assert main(["export", str(students()), "--to", "seq-cls", "--out", str(out)]) == 0
    card = (out / "README.md").read_text()
    assert "vllm serve THIS_FOLDER --runner pooling" in card and "infinity_emb" in card
    assert re.search(r"Checked when it was made: 100 texts.*at most \d", card)
    assert store.read_manifest(out)["result"]["difference"] < 1e-3
    capsys.readouterr()
    assert main(["push", str(out), "me/ranker", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "to me/ranker (private)" in printed and "chat_template.jinja" in printed and "model.safetensors" in printed
    assert main(["export", str(students()), "--to", "trl"]) == 2
    assert "--to trl is a format of traces; of a student there are seq-cls" in capsys.readouterr().err


STUDENTS = (
    ("direct", "rank1", "direct"),
    ("direct, fields apart", "delimited", "direct"),
    ("verdict first", "rank1", "verdict_first"),
    ("mixed, read without reasoning", "rank1", "mixed"),
    ("graded", "graded_4", "direct"),
    ("think", "rank1", "think"),
)


def test_the_docs_say_which_student_fits_which_format(students: Make) -> None:
    """docs/use-your-student.md has the table that comes of trying."""
    rows = []
    for name, prompt, target in STUDENTS:
        cells = []
        for to in FORMATS:
            try:
                load(to).check(student_of(students(prompt, target)))
            except InputError:
                cells.append("no")
            else:
                cells.append("yes")
        rows.append((name, *cells))
    table = markdown(("student", *(f"`{to}`" for to in FORMATS)), rows)
    assert table in (ROOT / "docs" / "use-your-student.md").read_text(), f"\n{table}"


def test_the_docs_have_the_figures_that_were_measured() -> None:
    """docs/benchmarks/exports.md has the table of docs/benchmarks/exports.json, refusals with their reasons."""
    table = load_file(ROOT / "benchmarks" / "exports" / "matrix.py").table()
    assert table in (ROOT / "docs" / "benchmarks" / "exports.md").read_text(), f"\n{table}"


def test_the_docs_have_the_lines_that_serve(students: Make) -> None:
    text = (ROOT / "docs" / "use-your-student.md").read_text()
    student = student_of(students())
    for to in ("seq-cls", "gguf"):
        assert load(to).serve(student, "FOLDER").replace(str(student.form.context), "CONTEXT") in text
    assert f"`{seq_cls.INFINITY.format('FOLDER')}`" in text
