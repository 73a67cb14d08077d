"""Validation: every fault is found at its row, in every shape, and what is sound is not called broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_run import judged_run, make_pairs, make_trace, write_run

from distill import store
from distill.cli import commands
from distill.errors import DataError, InputError
from distill.prompts import completion, rank1_prompt
from distill.publish.export import export
from distill.publish.validate import Findings, validate
from distill.records import Example, Pair
from sft.scratch import train_tokenizer
from tests.sft.kept import examples

PROMPT = rank1_prompt("a query", "a passage")
Row = dict[str, Any]


def jsonl(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def places(found: Findings) -> dict[str, list[str]]:
    return {name: [place for place, _ in fault.at] for name, fault in found.faults.items()}


def command(*arguments: str) -> int:
    return int(commands.main(list(arguments), standalone_mode=False))


@pytest.mark.parametrize("to", ["dataset", "trl", "llama-factory", "messages", "rank1"])
def test_our_own_exports_are_sound(run: Path, to: str) -> None:
    folder = Path(export(run, to, run / "out")["folder"])
    found = validate(folder / "plain" if to == "trl" else folder)
    assert (found.rows, found.broken, found.exit_code) == (15, 0, 0), found.faults
    assert found.verdicts == {1: 6, 0: 9}


def test_a_run_folder_is_its_kept_traces_and_its_sums(run: Path) -> None:
    assert validate(run).rows == 15 and validate(run).exit_code == 0
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["stages"]["filter"]["rejected"] = 0
    (run / "metrics.json").write_text(json.dumps(metrics))
    found = validate(run)
    assert found.sums == ["16 samples were due, but kept, rejected, failed and not asked are 15 + 0 + 0 + 0"]
    assert found.exit_code == 2


@pytest.mark.parametrize("to", ["dataset", "trl", "llama-factory", "messages", "rank1"])
def test_judged_pairs_without_reasoning_are_sound_and_said(tmp_path: Path, to: str) -> None:
    run = judged_run(tmp_path / "run")
    folder = Path(export(run, to, run / "out")["folder"])
    inner = folder / "plain" if to == "trl" else folder
    for path in (run, inner, next(inner.rglob("train*.json*"), inner)):
        found = validate(path)
        assert (found.broken, found.exit_code) == (0, 0), found.faults
        assert found.notes["no reasoning: the label is the answer (teacher.source: labels)"] == found.rows > 0
    if to == "trl":
        rows = [json.loads(line) for line in (inner / "train.jsonl").read_text().splitlines()]
        assert {row["completion"] for row in rows} == {"\n</think> true", "\n</think> false"}
    text = (folder / "README.md").read_text()
    assert "10 judged pairs over 2 queries" in text and "No teacher model was asked" in text
    for untrue in ("reasoning traces", "**Teacher:**", "is a model's", "it reasoned", "  - reasoning", "not asked"):
        assert untrue not in text.replace("- name: reasoning", "")


def test_an_empty_reasoning_of_a_teacher_stays_broken(tmp_path: Path) -> None:
    traces = [make_trace(pair, reasoning="") for pair in make_pairs()[:2]]
    found = validate(write_run(tmp_path / "run", make_pairs(), traces))
    assert set(found.faults) == {"empty reasoning"} and found.broken == 2


def test_a_kept_trace_without_a_verdict_is_broken(tmp_path: Path) -> None:
    pairs = make_pairs()
    run = write_run(
        tmp_path / "run", pairs, [make_trace(pairs[0]), make_trace(pairs[1], verdict=None, content="maybe")]
    )
    found = validate(run)
    assert found.broken == 1 and found.faults["no verdict"].at[0][1] == "the answer is 'maybe'"


@pytest.mark.parametrize("target", ["think", "direct", "verdict_first"])
def test_the_students_own_rows_are_sound(run: Path, target: str) -> None:
    pairs = {pair.pair_id: pair for pair in make_pairs()}
    rows = examples(pairs, [make_trace(pair) for pair in pairs.values()], target)
    store.write_rows(run / "rows", rows, Example)
    found = validate(run / "rows")
    assert (found.rows, found.broken) == (20, 0), found.faults


def sound(number: int) -> tuple[str, str, str]:
    """(query, reasoning, answer) of a sound row."""
    return f"query {number}", f"Some reasoning about passage {number}.", "true" if number % 2 else "false"


SHAPES: dict[str, Callable[[str, str, str], Row]] = {
    "ours": lambda q, r, a: {"query": q, "passage": "p", "reasoning": r, "answer": a},
    "verdicts as numbers": lambda q, r, a: {"query": q, "passage": "p", "reasoning": r, "verdict": int("true" in a)},
    "other names": lambda q, r, a: {"question": q, "document": "p", "thinking": r, "judgement": a},
    "whole answer": lambda q, r, a: {"query": q, "passage": "p", "response": f"<think>\n{r}\n</think>\n{a}"},
    "prompt completion": lambda q, r, a: {"prompt": rank1_prompt(q, "p"), "completion": f"\n{r}\n</think> {a}"},
    "inline think": lambda q, r, a: {"prompt": q, "completion": f"<think>{r}</think>{a}"},
    "verdict first": lambda q, r, a: {"prompt": rank1_prompt(q, "p"), "completion": f"\n</think> {a}\n{r}"},
    "messages": lambda q, r, a: {
        "messages": [
            {"role": "system", "content": "You judge."},
            {"role": "user", "content": q},
            {"role": "assistant", "reasoning_content": r, "content": a},
        ]
    },
    "sharegpt": lambda q, r, a: {
        "conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": f"<think>\n{r}\n</think> {a}"}]
    },
    "rank1": lambda q, r, a: {"instruction": "Judge.", "input": q, "output": f"<think>\n{r}\n</think> {a}"},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet"])
def test_shapes_of_others_are_read_alike(tmp_path: Path, shape: str, kind: str) -> None:
    rows = [SHAPES[shape](*sound(number)) for number in range(4)]
    broken = sound(9)
    rows.insert(2, SHAPES[shape](broken[0], broken[1], "it depends" if "numbers" not in shape else "x"))
    if "numbers" in shape:
        rows[2]["verdict"] = -1
    path = tmp_path / f"rows.{kind}"
    if kind == "jsonl":
        jsonl(path, rows)
    elif kind == "json":
        path.write_text(json.dumps(rows))
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    found = validate(path)
    assert (found.rows, found.sound, found.verdicts) == (5, 4, {1: 2, 0: 2})
    # Where the verdict comes first, nothing tells an unreadable verdict from reasoning: then both are said to miss.
    names = ["no verdict", "empty reasoning"] if shape == "verdict first" else ["no verdict"]
    assert places(found) == {name: ["rows.jsonl:3" if kind == "jsonl" else f"rows.{kind}[2]"] for name in names}


FAULTS: list[tuple[str, Row]] = [
    ("no verdict", {"answer": ""}),
    ("no verdict", {"answer": "true or false, who knows"}),
    ("empty reasoning", {"reasoning": " \n"}),
    ("empty reasoning", {"reasoning": None}),
    ("truncated", {"finish_reason": "length"}),
    ("unclosed think", {"reasoning": "<think> and then it goes on and on"}),
    ("control token in reasoning", {"reasoning": "so <|im_end|> it is"}),
    ("empty query", {"query": " "}),
    ("empty passage", {"passage": ""}),
    ("too long", {"reasoning": "word " * 200}),
    ("columns disagree", {"prompt": PROMPT, "completion": completion("think", "Fine.", 0), "reasoning": "Fine."}),
    ("columns disagree", {"prompt": PROMPT, "completion": completion("think", "Other.", 1), "reasoning": "Fine."}),
    ("unclosed think", {"prompt": PROMPT, "completion": "\nFine.", "reasoning": "Fine."}),
    ("control token in prompt", {"prompt": "<|im_start|>user\nq", "completion": "\nx\n</think> true"}),
]


@pytest.mark.parametrize(("fault", "change"), FAULTS)
def test_each_fault_is_found_at_its_row_and_alone(tmp_path: Path, fault: str, change: Row) -> None:
    base = {"query": "a query", "passage": "a passage", "answer": "true"}
    rows = [{**base, "reasoning": f"Sound reasoning number {n}."} for n in range(3)]
    rows[1] |= change
    if fault == "control token in prompt":
        rows[1]["reasoning"] = "x"
    found = validate(jsonl(tmp_path / "rows.jsonl", rows), max_length=100)
    assert places(found) == {fault: ["rows.jsonl:2"]}, found.faults
    assert (found.sound, found.broken, found.exit_code) == (2, 1, 2)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": PROMPT, "completion": "\nIt goes on and on"},
        {"prompt": "Judge.", "completion": "<think>\nIt goes on and on, so: true"},
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "<think> on and on"}]},
        {"instruction": "Judge.", "input": "q", "output": "<think>on and on"},
    ],
)
def test_a_think_block_that_never_closes_is_called_that_in_every_shape(tmp_path: Path, row: Row) -> None:
    assert places(validate(jsonl(tmp_path / "rows.jsonl", [row]))) == {"unclosed think": ["rows.jsonl:1"]}


def test_rows_that_cannot_be_read_are_rows_and_the_rest_is_read(tmp_path: Path) -> None:
    good = json.dumps(SHAPES["ours"](*sound(1))).encode()
    other = json.dumps(SHAPES["ours"](*sound(2))).encode()
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join([good, b'{"query": "caf\xe9"}', b"{torn", b"[1]", b"", other, good]))
    found = validate(path)
    assert places(found) == {
        "not UTF-8": ["rows.jsonl:2"],
        "not JSON": ["rows.jsonl:3"],
        "not an object": ["rows.jsonl:4"],
        "duplicate": ["rows.jsonl:7"],
    }
    assert found.faults["duplicate"].at[0][1] == "the same as rows.jsonl:1"
    assert (found.rows, found.sound) == (6, 2)


def test_text_that_is_not_utf8_in_parquet(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    raw = pa.array([b"fine reasoning", b"caf\xe9"], pa.binary()).view(pa.string())
    table = pa.table({"query": ["a", "b"], "passage": ["c", "d"], "reasoning": raw, "answer": ["true", "false"]})
    pq.write_table(table, tmp_path / "rows.parquet")
    found = validate(tmp_path / "rows.parquet")
    assert places(found) == {"not UTF-8": ["rows.parquet[1]"]} and found.sound == 1
    assert found.faults["not UTF-8"].at[0][1] == "column reasoning"


def test_columns_by_name(tmp_path: Path) -> None:
    rows = [
        {"q": "a", "d": f"passage {n}", "why": f"Because {n}.", "said": "Relevant" if n else "no"} for n in range(2)
    ]
    path = jsonl(tmp_path / "rows.jsonl", rows)
    blind = validate(path)
    assert blind.broken == 2 and "there are d, q, said, why" in blind.faults["missing columns"].at[0][1]
    named = {"query": "q", "passage": "d", "reasoning": "why", "answer": "said"}
    found = validate(path, named)
    assert found.sound == 2 and found.verdicts == {1: 1, 0: 1}
    assert found.example is not None and found.example[1] == rank1_prompt("a", "passage 0")
    with pytest.raises(InputError, match="--columns raesoning=...: unknown; there are query"):
        validate(path, {"raesoning": "why"})


def test_a_dataset_that_does_not_say_what_was_judged_cannot_be_trained_on(tmp_path: Path) -> None:
    found = validate(jsonl(tmp_path / "rows.jsonl", [{"corpus-id": "d1", "reasoning": "Because.", "answer": "true"}]))
    assert list(found.faults) == ["missing columns"] and "what was judged" in found.faults["missing columns"].at[0][1]


def test_length_is_in_the_tokenizers_tokens(tmp_path: Path) -> None:
    tokenizer = train_tokenizer([PROMPT], 512)
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    path = jsonl(tmp_path / "rows.jsonl", [{"prompt": PROMPT, "completion": "\nSo it is.\n</think> true"}])
    tokens = len(tokenizer.encode(PROMPT + "\nSo it is.\n</think> true", add_special_tokens=False))
    at = validate(path, max_length=tokens, tokenizer=str(tmp_path / "tokenizer"))
    assert at.broken == 0 and at.unit == "tokens" and at.lengths == [tokens]
    over = validate(path, max_length=tokens - 1, tokenizer=str(tmp_path / "tokenizer"))
    assert over.faults["too long"].at == [("rows.jsonl:1", f"{tokens} tokens, more than {tokens - 1}")]
    with pytest.raises(InputError, match="--tokenizer .*nowhere: cannot be loaded"):
        validate(path, max_length=1, tokenizer=str(tmp_path / "nowhere"))


def test_notes_do_not_break_anything(tmp_path: Path) -> None:
    row = {**SHAPES["ours"](*sound(1)), "label": 0, "prompt": "Is it?"}
    found = validate(jsonl(tmp_path / "rows.jsonl", [row]))
    assert found.exit_code == 0
    assert set(found.notes) == {
        "the verdict is not the label's",
        "the prompt is not Rank1's of this query and passage",
    }


@pytest.mark.parametrize(
    ("query", "passage", "noted"), [("q", "p", True), ("q", "caf\ufffd", False), ("\ufffd", "p", False)]
)
@pytest.mark.parametrize("shape", ["ours", "prompt and completion"])
def test_a_character_that_the_passage_or_query_has_was_not_decoded_wrongly(
    tmp_path: Path, shape: str, query: str, passage: str, noted: bool
) -> None:
    reasoning = "It says caf\ufffd."
    row = {"prompt": rank1_prompt(query, passage), "completion": completion("think", reasoning, 1)}
    if shape == "ours":
        row = {"query": query, "passage": passage, "reasoning": reasoning, "answer": "true"}
    found = validate(jsonl(tmp_path / "rows.jsonl", [row]))
    assert found.exit_code == 0 and ("the reasoning holds U+FFFD: it was once decoded wrongly" in found.notes) == noted


def test_the_table_and_the_json_say_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [SHAPES["ours"](*sound(n)) for n in range(3)] + [
        SHAPES["ours"]("q", "\x1b[2Jhe\u202e", f"no\x07 {n}") for n in range(7)
    ]
    path = jsonl(tmp_path / "rows.jsonl", rows)
    assert command("validate", str(path), "--limit", "2") == 2
    said = capsys.readouterr().out
    assert "10 rows, 3 sound, 7 broken" in said and "rows.jsonl:4: the answer is" in said and "and 5 more" in said
    assert "would be trained on: 1 true, 2 false" in said
    assert "\x1b" not in said and "\x07" not in said and "\u202e" not in said
    assert command("validate", str(path), "--limit", "0", "--json") == 2
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["sound"], found["broken"]) == (10, 3, 7)
    assert [each["place"] for each in found["faults"]["no verdict"]["at"]] == [f"rows.jsonl:{n}" for n in range(4, 11)]
    assert command("validate", str(jsonl(tmp_path / "fine.jsonl", rows[:3]))) == 0


def test_a_sound_row_cannot_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"query": "q\x1b]0;title\x07", "passage": "p\u202ex\x9b2J\r", "reasoning": "Be\x08cause.", "answer": "true"}
    assert command("validate", str(jsonl(tmp_path / "rows.jsonl", [row]))) == 0
    said = capsys.readouterr().out
    assert "  > Query: q" in said and "  < " in said
    assert not {c for c in said if not c.isprintable()} - {"\n"}


def test_what_holds_no_rows_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such file or folder"):
        validate(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: holds no file of rows; wanted .parquet"):
        validate(tmp_path / "empty")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="torn.parquet: not a readable Parquet file"):
        validate(tmp_path / "torn.parquet")
    (tmp_path / "none.jsonl").write_text("\n")
    with pytest.raises(DataError, match="none.jsonl: holds no row"):
        validate(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="--columns reasoning: write OURS=THEIRS"):
        command("validate", str(tmp_path), "--columns", "reasoning")


def test_real_traces(shared: Path) -> None:
    """Of 200 real teacher traces all are sound; of GPT-4's 1,470 too; the six that never parsed are found."""
    traces = shared / "traces"
    assert validate(traces / "tfrank_pointwise_think.jsonl").sound == 200
    assert validate(traces / "diras_generalqa_gpt4_traces.jsonl").verdicts == {1: 843, 0: 627}
    unparsed = validate(traces / "diras_chatreport_traces.jsonl", limit=0).faults["no verdict"]
    assert unparsed.rows == 6


def test_pairs_are_not_traces(run: Path) -> None:
    store.write_rows(run / "only", make_pairs(), Pair)
    assert list(validate(run / "only").faults) == ["missing columns"]
