"""Exports: every row is what the students are trained on, and every format is what its reader documents."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from made_run import make_pairs, make_trace, write_run

from distill import store
from distill.cli.export import export as export_command
from distill.errors import DataError, InputError, RunFolderError
from distill.pairs.collection import gather
from distill.pairs.sources.beir import Beir
from distill.prompts import END_THINK, THINK, rank1_prompt
from distill.publish.export import export
from distill.publish.formats import FORMATS
from distill.publish.rows import Kept, KeptRow
from distill.records import Pair, Trace
from distill.rerank.exports import FORMATS as STUDENT_FORMATS
from tests.sft.kept import examples


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def made(run: Path, to: str) -> Path:
    return Path(export(run, to, run / "out" / to)["folder"])


def students(run: Path) -> list[tuple[str, str]]:
    """What a thinking student of this run is trained on, by the SFT room's own words."""
    pairs = {pair.pair_id: pair for pair in store.read_rows(run / "pairs", Pair)}
    return [(e.prompt, e.completion) for e in examples(pairs, store.read_rows(run / "kept", Trace), "think")]


def test_rows_are_byte_for_byte_what_the_students_are_trained_on(run: Path) -> None:
    rows = list(Kept(run).rows())
    assert [(row.prompt, row.completion) for row in rows] == students(run)
    assert len(rows) == 15
    changed = next(row for row in rows if row.label_before is not None)
    assert (changed.label_before, changed.label, changed.verdict) == (0, 1, 1)
    assert {row.teacher for row in rows} == {"teacher-x"}, "the endpoint's host is not published"


def test_the_changed_label_wins_over_the_teachers_verdict(tmp_path: Path) -> None:
    pairs = make_pairs()
    run = write_run(tmp_path / "run", pairs, [make_trace(pairs[2], verdict=0, content="false")])
    (row,) = Kept(run).rows()
    assert row.verdict == 1 and row.completion.endswith(f"{END_THINK} true")
    assert [(row.prompt, row.completion)] == students(run)


def test_labels_that_a_filter_changed_are_the_ones_published(tmp_path: Path) -> None:
    pairs = make_pairs()
    run = write_run(tmp_path / "run", pairs, [make_trace(pair) for pair in pairs[:4]])
    voted = replace(pairs[3], label=1, label_origin="vote", label_before=0)
    store.write_rows(run / "changed", [voted], Pair)
    rows = {row.pair_id: row for row in Kept(run).rows()}
    found = rows[voted.pair_id]
    assert (found.label, found.label_before, found.label_origin, found.verdict) == (1, 0, "vote", 1)
    export(run, "beir", tmp_path / "out")
    assert gather(Beir(tmp_path / "out"), "train").qrels["q0"] == {"d0-0": 1, "d0-1": 1, "d0-2": 1, "d0-3": 1}


def test_the_dataset_loads_by_split_with_every_column(run: Path) -> None:
    from datasets import load_dataset

    loaded = load_dataset(str(made(run, "dataset")))
    assert {split: rows.num_rows for split, rows in loaded.items()} == {"train": 10, "validation": 5}
    assert loaded["train"].column_names == store.schema_of(KeptRow).names
    expected = [row.completion for row in Kept(run).rows() if row.split == "train"]
    assert loaded["train"]["completion"][:] == expected


@pytest.mark.parametrize(
    ("to", "config", "columns", "rows"),
    [
        ("trl", "plain", {"prompt", "completion"}, 10),
        ("trl", "chat", {"prompt", "completion"}, 10),
        (
            "trl-grpo",
            "prompts",
            {
                "prompt",
                "grade",
                "label",
                "words",
                "length_budget",
                "query_id",
                "pair_id",
                "query",
                "passage",
                "instruction",
            },
            10,
        ),
        ("trl-distillation", "prompts", {"prompt"}, 10),
        ("llama-factory", None, {"conversations"}, 10),
        ("messages", None, {"messages", "pair_id", "label"}, 10),
        ("rank1", None, {"instruction", "input", "output"}, 10),
        ("sentence-transformers", "pairs", {"query", "passage", "score"}, 9),
        ("sentence-transformers", "triplets", {"query", "positive", "negative"}, 5),
    ],
)
def test_every_format_loads_by_its_card(run: Path, to: str, config: str | None, columns: set[str], rows: int) -> None:
    from datasets import load_dataset

    loaded = load_dataset(str(made(run, to)), config, split="train")
    assert (set(loaded.column_names), loaded.num_rows) == (columns, rows)


def test_the_command_line_and_the_formats_name_the_same() -> None:
    (to,) = (option for option in export_command.params if option.name == "to")
    assert isinstance(to.type, click.Choice) and (*FORMATS, *STUDENT_FORMATS, "mteb") == tuple(to.type.choices)


def test_trl_plain_and_chat(run: Path) -> None:
    out = made(run, "trl")
    plain, chat = lines(out / "plain" / "train.jsonl"), lines(out / "chat" / "train.jsonl")
    assert all(row["prompt"].endswith(f"\n{THINK}") and row["completion"].startswith("\n") for row in plain)
    assert {(row["prompt"], row["completion"]) for row in plain} < set(students(run))
    joined = [row["prompt"][0]["content"] + "\n" + row["completion"][0]["content"] for row in chat]
    assert joined == [row["prompt"] + row["completion"] for row in plain]
    assert {(row["prompt"][0]["role"], row["completion"][0]["role"]) for row in chat} == {("user", "assistant")}


def test_the_rewards_of_an_export_run_without_this_project(run: Path) -> None:
    out = made(run, "trl-grpo")
    rows = lines(out / "prompts" / "train.jsonl")
    code = (
        "import json, sys; sys.modules.update(distill=None, sft=None); import rewards\n"
        "rows = json.load(sys.stdin); columns = {name: [row[name] for row in rows] for name in rows[0]}\n"
        'answers = [f\'\\nso it is\\n</think>{row["words"][row["grade"]]}\' for row in rows]\n'
        "ids = [[0] * 300 for _ in rows]\n"
        "given = dict(columns, completions=answers, completion_ids=ids)\n"
        "print(json.dumps([getattr(rewards, name)(**given) for name in ('verdict', 'length', 'form')]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=out, input=json.dumps(rows), capture_output=True, text=True, check=True
    )
    verdict, length, form = json.loads(done.stdout)
    assert set(verdict) == set(form) == {1.0} and all(-1 < value < 0 for value in length)
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "Not in `grpo.yaml`: `brier` (reads `p_true`), `pairwise` (reads `p_true`), `group_rank`" in card


def test_the_grpo_export_has_the_settings_and_own_rewards_of_the_runs_student(run: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text("def short(query, **c):\n    return [2.0] * len(query)\ndef sure(p_true, **c):\n    return p_true\n")
    reward = {f"{own}:short": 1.0, f"{own}:sure": 1.0, "brier": 1.0, "form": 0.1}
    then = {"method": "grpo", "steps": 5, "prompts": 4, "generations": 2, "learning_rate": 1e-4, "reward": reward}
    (run / "students/think_grpo").mkdir(parents=True)
    store.write_json(run / "students/think_grpo/job.json", {"base": "runs/x/students/think", "then": then})
    store.write_json(run / "students/think_grpo/distill.json", {"length_budget": 31, "longest_trace": 99})
    out = made(run, "trl-grpo")
    given = yaml.safe_load((out / "grpo.yaml").read_text())
    assert (given["reward_funcs"], given["reward_weights"]) == (["own.short", "rewards.form"], [1, 0.1])
    assert (given["max_steps"], given["learning_rate"], given["num_generations"]) == (5, 1e-4, 2)
    assert given["per_device_train_batch_size"] * given["gradient_accumulation_steps"] == 8
    assert given["max_completion_length"] == 99 and lines(out / "prompts/train.jsonl")[0]["length_budget"] == 31
    assert (out / "own.py").read_text() == own.read_text()
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "`own.py`: one's own; what it imports has to be installed" in card
    own.unlink()
    gone = (made(run, "trl-grpo") / "README.md").read_text(encoding="utf-8")
    assert "`short` (own.py is gone or does not run)" in gone and str(tmp_path) not in gone
    assert "`think_grpo`" in card and "`sure` (reads `p_true`)" in card and str(tmp_path) not in card


def check_llama_factory(folder: Path) -> dict[str, list[tuple[str, str]]]:
    """LLaMA-Factory's documented schema (data/README.md) and its sharegpt converter: {name: [(prompt, response)]}.

    Roles alternate, human first and gpt last; the number of turns is even; names of files, columns and tags are known.
    """
    info = json.loads((folder / "dataset_info.json").read_text())
    known = {"file_name", "formatting", "columns", "tags", "ranking", "split", "num_samples", "folder", "subset"}
    read = {}
    for name, entry in info.items():
        assert set(entry) <= known and entry["formatting"] in ("alpaca", "sharegpt")
        file = folder / entry["file_name"]
        assert file.suffix in (".json", ".jsonl", ".csv", ".parquet", ".arrow", ".txt")
        columns, tags = entry["columns"], {"role_tag": "from", "content_tag": "value"} | entry.get("tags", {})
        assert set(columns) <= {"messages", "system", "tools", "images", "videos", "audios", "chosen", "rejected"}
        rows = []
        for row in lines(file):
            turns = row[columns["messages"]]
            assert len(turns) % 2 == 0
            for place, turn in enumerate(turns):
                assert turn[tags["role_tag"]] in (("human", "observation"), ("gpt", "function_call"))[place % 2]
                assert isinstance(turn[tags["content_tag"]], str) and turn[tags["content_tag"]].strip()
            rows.append((turns[0][tags["content_tag"]], turns[-1][tags["content_tag"]]))
        read[name] = rows
    return read


def test_llama_factory_reads_it_and_the_empty_template_gives_the_students_text(run: Path) -> None:
    read = check_llama_factory(made(run, "llama-factory"))
    assert {name: len(rows) for name, rows in read.items()} == {"my_run_train": 10, "my_run_validation": 5}
    texts = {prompt + answer for rows in read.values() for prompt, answer in rows}
    assert texts == {prompt + answer for prompt, answer in students(run)}
    assert all(answer.startswith(f"{THINK}\n") for rows in read.values() for _, answer in rows)


def test_rank1_has_its_columns_and_joins_to_its_text(run: Path) -> None:
    rows = json.loads((made(run, "rank1") / "train.json").read_text())
    assert all(list(row) == ["instruction", "input", "output"] for row in rows)
    # LLaMA-Factory's alpaca converter: instruction and input by a newline; the template `empty` adds nothing.
    texts = {f"{row['instruction']}\n{row['input']}{row['output']}" for row in rows}
    assert texts < {prompt + answer for prompt, answer in students(run)} and len(texts) == 10
    assert {row["instruction"] for row in rows} == {rank1_prompt("", "").partition("\n")[0]}


def test_messages_keep_the_reasoning_apart(run: Path) -> None:
    rows = lines(made(run, "messages") / "train.jsonl")
    for row in rows:
        user, assistant = row["messages"]
        assert user["role"] == "user" and THINK not in user["content"]
        assert assistant["content"] in ("true", "false") and THINK not in assistant["reasoning_content"]
        assert assistant["reasoning_content"].startswith("Okay, the query")


def test_sentence_transformers_use_each_passage_once_a_pair(run: Path) -> None:
    folder = made(run, "sentence-transformers")
    pairs = lines(folder / "pairs" / "train.jsonl")
    assert {row["score"] for row in pairs} == {0.0, 1.0}
    assert len({(row["query"], row["passage"]) for row in pairs}) == len(pairs) == 9
    relevant = {(row["query"], row["passage"]) for row in pairs if row["score"]}
    others = {(row["query"], row["passage"]) for row in pairs if not row["score"]}
    triplets = lines(folder / "triplets" / "train.jsonl")
    assert {(t["query"], t["positive"]) for t in triplets} == relevant
    assert {(t["query"], t["negative"]) for t in triplets} == others
    assert any(row["query"].endswith("Only recent ones.") for row in pairs)


def test_samples_divided_evenly_are_left_out_and_said(tmp_path: Path) -> None:
    pairs = make_pairs()
    doubtful = [make_trace(pairs[0]), make_trace(pairs[0], 1, verdict=0, content="false")]
    run = write_run(tmp_path / "run", pairs, [*doubtful, make_trace(pairs[1]), make_trace(pairs[3])])
    done = export(run, "sentence-transformers", tmp_path / "out")
    assert done["rows"] == {"train": 2}
    assert done["left_out"] == {"pairs whose samples are divided evenly": 1}


def test_beir_is_read_back_with_the_labels_as_they_now_are(run: Path) -> None:
    done = export(run, "beir", run / "beir")
    assert done["left_out"] == {"pairs without a kept trace": 1}
    train, held_out = gather(Beir(run / "beir"), "train"), gather(Beir(run / "beir"), "test")
    assert train.qrels["q0"] == {"d0-1": 1, "d0-2": 1, "d0-3": 0, "d0-4": 0}, "d0-0 was rejected, d0-2 corrected"
    assert train.instructions == {"q1": "Only recent ones."}
    assert sum(held_out.qrels["q3"].values()) == 2 and len(held_out.qrels["q3"]) == 5
    by_id = {pair.doc_id: pair.passage for pair in make_pairs()}
    assert all(train.passages[doc] == by_id[doc] for doc in train.qrels["q0"])


def test_ids_that_stand_for_two_texts_do_not_lose_one(tmp_path: Path) -> None:
    from distill.records import make_pair

    pairs = [make_pair("q", "same id", "a query", text, label=n) for n, text in enumerate(("one text", "another"))]
    run = write_run(tmp_path / "run", pairs, [make_trace(pair) for pair in pairs])
    export(run, "beir", tmp_path / "out")
    back = gather(Beir(tmp_path / "out"), "train")
    assert sorted(back.passages.values()) == ["another", "one text"]
    assert sorted((back.passages[d], grade) for d, grade in back.qrels["q"].items()) == [
        ("another", 1),
        ("one text", 0),
    ]


def test_a_trace_without_a_verdict_is_left_out_and_counted(tmp_path: Path) -> None:
    pairs = make_pairs()
    run = write_run(
        tmp_path / "run", pairs, [make_trace(pairs[0]), make_trace(pairs[1], verdict=None, content="maybe")]
    )
    done = export(run, "dataset", tmp_path / "out")
    assert done["rows"] == {"train": 1}
    assert done["left_out"] == {"kept traces without a verdict": 1}
    assert "1 kept traces without a verdict" in (tmp_path / "out" / "README.md").read_text()


def test_an_export_again_is_the_same_bytes_and_replaces_the_old_one(run: Path) -> None:
    out = made(run, "dataset")
    shard = out / "data" / "train" / "part-00000.parquet"
    before = shard.read_bytes()
    (out / "data" / "train" / "part-00001.parquet").write_bytes(before)
    (run / "out" / ".dataset.partial").mkdir()  # what a kill leaves
    assert made(run, "dataset") == out
    assert [p.name for p in (out / "data" / "train").iterdir()] == [shard.name] and shard.read_bytes() == before
    assert not (run / "out" / ".dataset.partial").exists()


def test_a_folder_of_somebody_else_is_left_alone(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "photos"
    other.mkdir()
    (other / "one.jpg").write_text("x")
    with pytest.raises(RunFolderError, match="photos: is not empty and not an export of ours"):
        export(run, "dataset", other)
    assert [p.name for p in other.iterdir()] == ["one.jpg"]


def test_what_cannot_be_exported_is_one_clear_line(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--to csv: no such format; there are dataset, trl"):
        export(run, "csv", tmp_path / "out")
    with pytest.raises(RunFolderError, match="pairs: not made yet; `distill pairs CONFIG"):
        export(tmp_path / "nowhere", "trl", tmp_path / "out")
    empty = write_run(tmp_path / "empty", make_pairs(), [])
    with pytest.raises(InputError, match="no trace was kept"):
        export(empty, "trl", tmp_path / "out")
    stranger = make_trace(make_pairs()[0], pair_id="f" * 32)
    mixed = write_run(tmp_path / "mixed", make_pairs(), [stranger])
    with pytest.raises(DataError, match="not among the pairs"):
        export(mixed, "trl", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_grpo_export_without_a_reward_that_runs_alone_starts_with_the_usual_ones(run: Path) -> None:
    (run / "students/think_grpo").mkdir(parents=True)
    then = {"method": "grpo", "reward": {"brier": 1.0}, "learning_rate": 1e-6}
    store.write_json(run / "students/think_grpo/job.json", {"base": "students/think", "then": then})
    given = yaml.safe_load((made(run, "trl-grpo") / "grpo.yaml").read_text())
    assert given["reward_funcs"] == ["rewards.verdict", "rewards.length", "rewards.form"]
    assert given["learning_rate"] == 1e-6 and len(given["reward_weights"]) == 3
