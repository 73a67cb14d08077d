"""Instructions: the ambiguous queries and how following them is counted, and the sweep that chooses on one half."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from distill.cli import main
from distill.errors import InputError
from distill.example.ambiguous import reordered, write_ambiguous
from distill.example.teacher import Teacher, TeacherSettings
from distill.files.qrels import read_qrels
from distill.files.runs import read_run
from distill.prompts import teacher_prompt
from distill.records import Judgement, Pair, make_pair
from distill.rerank.files import read_passages, read_queries
from distill.rerank.instructions import GENERIC, PARAPHRASES
from distill.rerank.instructions.sweep import sweep, with_generic


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ambiguous")
    assert write_ambiguous(folder, 0, 12) == {"queries": 12, "documents": 60, "pairs": 120}
    return folder


def read(folder: Path) -> tuple[dict[str, tuple[str, str | None]], dict[str, dict[str, int]], dict[str, str]]:
    qrels = read_qrels(folder / "qrels" / "test.tsv")
    passages = read_passages(folder / "corpus.jsonl", {doc for labels in qrels.values() for doc in labels})
    return read_queries(folder / "queries.jsonl"), qrels, passages


def test_each_instruction_wants_two_of_the_five_and_the_query_alone_does_not_say_which(world: Path) -> None:
    queries, qrels, _ = read(world)
    for name in {key.rpartition("-")[0] for key in qrels}:
        a, b = (qrels[f"{name}-{side}"] for side in "ab")
        assert set(a) == set(b) and len(a) == 5
        fits = [{doc for doc, grade in labels.items() if grade} for labels in (a, b)]
        assert [len(each) for each in fits] == [2, 2] and not fits[0] & fits[1]
        assert queries[name] == (queries[f"{name}-a"][0], None) and queries[f"{name}-a"][0] == queries[f"{name}-b"][0]
        assert queries[f"{name}-a"][1] != queries[f"{name}-b"][1]


@pytest.mark.parametrize("prompt", ["rank1", "delimited"])
def test_the_example_teacher_reads_the_instruction_from_either_prompt(world: Path, prompt: str) -> None:
    queries, qrels, passages = read(world)
    teacher = Teacher(TeacherSettings())
    for key, labels in qrels.items():
        text, instruction = queries[key]
        for doc, grade in labels.items():
            said = teacher.reply(teacher_prompt(text, passages[doc], instruction, prompt), 0)
            assert said.verdict == ("true" if grade else "false"), said.reasoning


def test_following_is_counted_per_instruction_per_query_and_per_pair(world: Path) -> None:
    _, qrels, _ = read(world)
    perfect = {key: {doc: float(grade) for doc, grade in labels.items()} for key, labels in qrels.items()}
    assert reordered(perfect, qrels) == {"first": 1.0, "both": 1.0, "apart": 1.0}
    deaf = {key: perfect[f"{key.rpartition('-')[0]}-a"] for key in qrels}
    assert reordered(deaf, qrels) == {"first": 0.5, "both": 0.0, "apart": 0.5}
    tied = {key: dict.fromkeys(labels, 0.0) for key, labels in qrels.items()}
    assert reordered(tied, qrels) == {"first": 0.0, "both": 0.0, "apart": 0.0}


# --- the sweep -------------------------------------------------------------------------------------------------------

PAIRS = [
    make_pair(f"q{n}", f"d{d}", f"query {n}", f"passage {d}", "own" if n % 2 else None)
    for n in range(40)
    for d in range(2)
]


def judge(pairs: Sequence[Pair]) -> list[Judgement]:
    """The good passage wins by what the instruction is worth; `magic` is worth most, on every query."""
    found = []
    for pair in pairs:
        worth = (
            1.0 if (pair.instruction or "").endswith("magic") else 0.2 if "harm" in (pair.instruction or "") else 0.5
        )
        found.append(Judgement(pair.query_id, pair.doc_id, 0.5, worth, 1, "", "direct", 1, "stop"))
    return found


def measure(run: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {query: scores["d1"] for query, scores in run.items()}


def test_the_choice_is_made_on_one_part_and_reported_on_the_other() -> None:
    found = sweep(judge, PAIRS, ["harm", "magic", "nothing"], measure)
    assert (found.chosen.instruction, found.chosen.test, found.plain.test) == ("magic", 1.0, 0.5)
    assert found.queries["dev"] + found.queries["test"] == 40 and min(found.queries.values()) > 5
    assert found.spread == pytest.approx(0.8) == found.per_query
    again = sweep(judge, PAIRS[::-1], ["harm", "magic", "nothing"], measure)
    assert again.queries == found.queries, "the parts do not depend on the order of pairs"


def test_test_queries_do_not_sway_the_choice() -> None:
    """An instruction that is best on the test part alone is not chosen."""
    parts = sweep(judge, PAIRS, ["x"], lambda run: dict.fromkeys(run, 0.0)).queries
    seen: list[set[str]] = []

    def biased(run: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        return {query: scores["d1"] if query in dev else 1.5 - scores["d1"] for query, scores in run.items()}

    from distill.records import digest

    dev = {p.query_id for p in PAIRS if int(digest("sweep", p.query_id)[:8], 16) < 16**8 / 2}
    seen.append(dev)
    found = sweep(judge, PAIRS, ["harm", "magic"], biased)
    assert len(dev) == parts["dev"] and found.chosen.instruction == "magic"
    assert found.chosen.test < max(line.test for line in found.lines)


def test_none_is_chosen_where_every_instruction_harms() -> None:
    assert sweep(judge, PAIRS, ["harm 1", "harm 2"], measure).chosen.instruction is None


def test_a_generic_instruction_follows_the_querys_own() -> None:
    pair = make_pair("q", "d", "query", "passage", "own")
    assert with_generic(pair, "magic").instruction == "own magic"
    assert with_generic(pair, "magic").pair_id != pair.pair_id and with_generic(pair, None) is pair


def test_too_few_queries_to_part_are_refused() -> None:
    with pytest.raises(InputError, match="too few"):
        sweep(judge, PAIRS[:2], ["magic"], measure)


def test_there_are_ten_generic_instructions_and_they_differ() -> None:
    assert len(set(GENERIC)) == 10 and len(set(PARAPHRASES)) == 5


def test_the_command_sweeps_and_says_what_it_chose(
    tiny: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = tmp_path / "own.txt"
    lines.write_text("Be strict.\n\nBe kind.\n", encoding="utf-8")
    files = [
        "--queries",
        "queries.jsonl",
        "--corpus",
        "corpus.jsonl",
        "--run",
        "first.trec",
        "--qrels",
        "qrels/test.tsv",
    ]
    arguments = [word if word.startswith("--") else str(world / word) for word in files]
    arguments += ["--model", str(tiny), "--mode", "direct", "--measure", "nDCG@5"]
    assert main(["sweep", *arguments, "--instructions", str(lines), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["instruction"] for row in found["rows"]] == [None, "Be strict.", "Be kind."]
    assert found["queries"]["dev"] + found["queries"]["test"] == 24
    best = max(found["rows"], key=lambda row: row["dev"])
    assert found["chosen"] == best["instruction"] and all(0 < row["test"] <= 1 for row in found["rows"])
    assert len(read_run(world / "first.trec")) == 36, "queries without judgements are left out"
    assert main(["sweep", *arguments, "--dev-share", "1.5"]) == 2
    assert "a share between 0 and 1" in capsys.readouterr().err


def test_queries_of_one_group_stay_on_one_part() -> None:
    pairs = [make_pair(f"m{n}-{side}", d, f"query {n}", d) for d in ("d0", "d1") for n in range(30) for side in "ab"]
    worst = sweep(judge, pairs, ["magic"], lambda run: {q: float(q[-1] == "a") for q in run}, group=lambda q: q[:-2])
    assert worst.plain.dev == worst.plain.test == 0.5, "half of each part, as each group has both"
