"""benchmarks/real/convert.py on clones made here: what it reads, refuses, and how folds are cut."""

import subprocess
import sys
from pathlib import Path

import pytest

from distill.store import read_json

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks/real"))
import convert
import judged
from clones import Clone, Missing

FILES = {
    "cran.all.1400": ".I 1\n.T\nwings\n.A\nsomeone\n.W\nwings\nlift grows with speed .\n"
    ".I 2\n.T\nheat\n.W\nplates burn .\n",
    "cran.qry": ".I 001\n.W\nwhat lifts ?\n.I 004\n.W\nwhat burns ?\n",
    "cranqrel": "1 1 1\n2 2 -1\n2 1 4\n",
}


def clone(folder: Path, files: dict[str, str], commit: str) -> None:
    """A repository of these files, its commit tagged as the one that is read."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "x"], ["tag", commit]):
        subprocess.run(["git", *command], cwd=folder, check=True)


@pytest.fixture
def clones(tmp_path: Path) -> Path:
    """A folder of clones with one repository."""
    clone(tmp_path / "clones/xyxxyyxy/cranvectors", FILES, "78c84cb834df")
    return tmp_path / "clones"


def test_cranfield_turns_the_codes_round_and_numbers_queries_by_place(clones: Path, tmp_path: Path) -> None:
    judged.cranfield(clones, tmp_path / "out")
    assert convert.labels_of(tmp_path / "out/qrels/test.tsv") == [("1", "1", 4), ("2", "2", 1), ("2", "1", 1)]
    corpus = convert.texts_of(tmp_path / "out/corpus.jsonl")
    assert corpus["1"] == {"_id": "1", "title": "wings", "text": "lift grows with speed ."}  # the title is there once
    assert list(convert.texts_of(tmp_path / "out/queries.jsonl")) == ["1", "2"]


def test_chatreport_has_what_each_model_wrote_after_the_prompt(tmp_path: Path) -> None:
    ends = {"llama_rgc": "<|start_header_id|>assistant<|end_header_id|>", "phi3_rgc": "<|assistant|>"}
    table = "Questions,Background,Paragraphs,gold\nq?,why,p one,yes\nq?,why,p two,partially\n"
    files = {"data/chatreport_test.csv": table}
    for kind, models in judged.ANSWERED.items():
        for file in models.values():
            marker = ends.get(file, "<start_of_turn>model")
            answers = (f'"prompt {marker}\n{kind} {file}, {row}\n[Guess]: {guess}\n[Confidence]: 0.8 <eos><pad>"'
                       for row, guess in ((1, "Yes"), (2, "No")))  # fmt: skip
            files[f"small_llm_results/{file}.csv"] = "output\n" + "\n".join(answers) + "\n"
    clone(tmp_path / "clones/EdisonNi-hku/DIRAS", files, "795ef8d20fe2")
    judged.chatreport(tmp_path / "clones", tmp_path / "out")
    rows = [row for _, row in convert.rows(tmp_path / "out/answers/zero-shot.jsonl")]
    assert [(row["query_id"], row["doc_id"]) for row in rows] == 3 * [("q1", "p1"), ("q1", "p2")]
    assert rows[3]["content"] == "zero-shot phi3_rgc, 2\n[Guess]: No\n[Confidence]: 0.8"
    assert (rows[2]["p_relevant"], rows[3]["p_relevant"], rows[3]["model"]) == (0.8, 0.2, "Phi-3-mini, zero-shot")
    assert len(list(convert.rows(tmp_path / "out/answers/distilled.jsonl"))) == 6


def test_a_set_of_another_content_is_not_used(clones: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"corpus.jsonl.* differ from converted.json"):
        convert.convert("cranfield", clones, tmp_path)
    assert not (tmp_path / "cranfield").exists()


def test_a_missing_clone_is_named_with_its_command(tmp_path: Path) -> None:
    with pytest.raises(Missing, match=r"git clone https://github.com/a/b .*a/b \(commit 123456789012"):
        Clone(tmp_path, "a/b", "1234567890123").text("x")


def test_every_query_is_tested_once_and_never_trained_on_in_its_fold(tmp_path: Path) -> None:
    queries = {f"q{n}": f"what is thing{n}" for n in range(40)} | {"twin": "thing3 is what"}
    labels = [(query, f"d{n}", n % 2) for n, query in enumerate(queries)]
    convert.folds(tmp_path, labels, queries)

    def asked(name: str) -> set[str]:
        return {query for query, _, _ in convert.labels_of(tmp_path / f"qrels/{name}of5.tsv")}

    tested = [asked(f"test-{fold}") for fold in range(5)]
    assert set.union(*tested) == set(queries)
    assert sum(map(len, tested)) == len(queries)
    assert any({"twin", "q3"} <= part for part in tested)  # the same words, so one fold
    for fold in range(5):
        train, dev, rest = (asked(f"{name}-{fold}") for name in ("train", "dev", "rest"))
        assert not train & (dev | tested[fold])
        assert rest == set(queries) - tested[fold] == train | dev
        assert asked(f"unseen-{fold}") == set(queries) - dev


def test_the_hashes_name_every_set() -> None:
    assert read_json(convert.HASHES).keys() == convert.SETS.keys()
