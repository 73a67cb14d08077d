"""`distill init`: from any kind of data to a configuration that `distill run` accepts, and copies of the recipes."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from distill.cli import main
from distill.cli.init import RECIPES
from distill.cli.template import Answers, Teacher, configuration
from distill.pairs.detect import DataFound
from distill.pipeline import check
from filters.settings import DEFAULT
from tests.terminal import in_terminal

ROOT = Path(__file__).resolve().parents[1]
QUERIES, DOCS = 12, 24


def rows(**more: Callable[[int], object]) -> list[dict[str, object]]:
    """A row for each pair of two neighbouring passages and a query: the first is relevant, the second is not."""
    return [
        {
            "query": f"how is part {query} repaired",
            "passage": f"The repair of part {2 * query + other} begins with a look at its manual.",
            **{name: value(other) for name, value in more.items()},
        }
        for query in range(QUERIES)
        for other in (0, 1)
    ]


def relevant(other: int) -> int:
    return 1 - other


def write_csv(path: Path, table: list[dict[str, object]], mark: str = ",") -> Path:
    lines = [mark.join(table[0]), *(mark.join(map(str, row.values())) for row in table)]
    path.write_text("\n".join(lines) + "\n")
    return path


def jsonl(path: Path, table: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in table))
    return path


def csv(folder: Path) -> Path:
    return write_csv(folder / "judged.csv", rows(label=relevant))


def clicks(folder: Path) -> Path:
    return write_csv(
        folder / "clicks.csv",
        rows(clicks=lambda other: 40 - 39 * other, impressions=lambda other: 100, position=lambda other: 1),
    )


def tsv(folder: Path) -> Path:
    return write_csv(folder / "judged.tsv", rows(label=relevant), "\t")


def unlabelled(folder: Path) -> Path:
    return jsonl(folder / "pairs.jsonl", rows())


def split_column(folder: Path) -> Path:
    table = rows(label=relevant)
    for number, row in enumerate(table):
        row["split"] = "test" if number >= len(table) - 6 else "train"
    return jsonl(folder / "split.jsonl", table)


def parquet(folder: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows(label=relevant)), folder / "judged.parquet")
    return folder / "judged.parquet"


def texts_of(folder: Path) -> None:
    folder.mkdir()
    passages = [{"_id": f"d{n}", "title": "", "text": f"The repair of part {n} begins here."} for n in range(DOCS)]
    jsonl(folder / "corpus.jsonl", passages)
    jsonl(folder / "queries.jsonl", [{"_id": f"q{n}", "text": f"how is part {n} repaired"} for n in range(QUERIES)])


def beir(folder: Path) -> Path:
    texts_of(folder / "beir")
    (folder / "beir" / "qrels").mkdir()
    for name, numbers in (("train", range(8)), ("test", range(8, QUERIES))):
        lines = [f"q{n}\td{2 * n}\t1\nq{n}\td{2 * n + 1}\t0\n" for n in numbers]
        (folder / "beir" / "qrels" / f"{name}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    return folder / "beir"


def trec(folder: Path) -> Path:
    place = folder / "trec"
    place.mkdir()
    documents = [f"<DOC>\n<DOCNO>d{n}</DOCNO>\n<TEXT>Part {n} is repaired.</TEXT>\n</DOC>\n" for n in range(DOCS)]
    (place / "docs.sgml").write_text("".join(documents))
    topics = [f"<top>\n<num> Number: {n}\n<title> repair of part {n}\n</top>\n" for n in range(QUERIES)]
    (place / "topics.txt").write_text("".join(topics))
    (place / "qrels.txt").write_text("".join(f"{n} 0 d{2 * n} 1\n{n} 0 d{2 * n + 1} 0\n" for n in range(QUERIES)))
    return place


def three_tables(folder: Path) -> Path:
    place = folder / "tables"
    place.mkdir()
    write_csv(place / "corpus.csv", [{"id": f"d{n}", "text": f"part {n} is repaired"} for n in range(DOCS)])
    write_csv(place / "queries.csv", [{"id": f"q{n}", "text": f"repair of part {n}"} for n in range(QUERIES)])
    labels = [{"query_id": f"q{n // 2}", "doc_id": f"d{n}", "label": relevant(n % 2)} for n in range(DOCS)]
    write_csv(place / "qrels.csv", labels)
    return place


def hugging_face(folder: Path) -> Path:
    from datasets import Dataset, DatasetDict

    table = rows(label=relevant)
    data = DatasetDict({"train": Dataset.from_list(table[:18]), "test": Dataset.from_list(table[18:])})
    data.save_to_disk(str(folder / "saved"))
    return folder / "saved"


def tevatron(folder: Path) -> Path:
    table: list[dict[str, object]] = [
        {
            "query_id": f"q{n}",
            "query": f"how is part {n} repaired",
            "positive_passages": [{"docid": f"d{2 * n}", "text": f"The repair of part {n}"}],
            "negative_passages": [{"docid": f"d{2 * n + 1}", "text": f"The colour of part {n}"}],
        }
        for n in range(QUERIES)
    ]
    return jsonl(folder / "tevatron.jsonl", table)


def texts(folder: Path) -> Path:
    place = folder / "texts"
    place.mkdir()
    for n in range(DOCS):
        (place / f"{n}.txt").write_text(f"The repair of part {n} begins with a look at its manual.\n")
    return place


KINDS: dict[Callable[[Path], Path], str] = {
    csv: "table", clicks: "table", tsv: "table", unlabelled: "table", split_column: "table", parquet: "table",
    beir: "beir", trec: "trec", three_tables: "table", hugging_face: "huggingface", tevatron: "tevatron",
    texts: "texts",
}  # fmt: skip


@pytest.mark.parametrize("make", list(KINDS), ids=lambda make: make.__name__)
def test_every_kind_of_data_gets_a_configuration_that_run_accepts(
    make: Callable[[Path], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if make is not csv:  # what is written for training is alike; TRL is asked of one of them, since it loads slowly
        monkeypatch.setattr(check, "_in_a_process", lambda *arguments: None)
    data, out = make(tmp_path), tmp_path / "mine.yaml"
    assert main(["init", str(data), "--yes", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert shown.count("  passage  ") == 3 and "repair" in shown
    text = out.read_text()
    assert len(text.splitlines()) <= 40 and yaml.safe_load(text)["pairs"]["source"] == KINDS[make]
    assert main(["run", str(out), "--out", str(tmp_path / "run"), "--dry-run"]) == 0
    assert not (tmp_path / "run").exists()


def test_the_pairs_that_the_configuration_makes_are_those_shown(tmp_path: Path) -> None:
    out = tmp_path / "mine.yaml"
    assert main(["init", str(clicks(tmp_path)), "--yes", "--out", str(out)]) == 0
    assert main(["pairs", str(out), "--out", str(tmp_path / "run")]) == 0
    counts = json.loads((tmp_path / "run" / "metrics.json").read_text())["stages"]["pairs"]
    assert counts["relevant"] > 0 and counts["of_source"]["pairs labelled by clicks"] > 0


def test_a_title_alone_is_named_as_the_flag_that_takes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    others = "".join(f"{colour} shoes,Shoes in {colour},200,40\n" for colour in ("red", "blue", "grey"))
    (tmp_path / "clicks.csv").write_text(f"query,title,impressions,clicks\n{others}")
    command = ["init", str(tmp_path / "clicks.csv"), "--yes", "--out", str(tmp_path / "my.yaml")]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert said.endswith("where the title is all there is, --columns passage=title\n") and said.count("\n") == 1
    assert main([*command, "--columns", "passage=title"]) == 0
    assert "passage  Shoes in red\n" in capsys.readouterr().out


def test_columns_with_names_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = csv(tmp_path)
    data.write_text(data.read_text().replace("query,passage,label", "term,snippet,rating", 1))
    out = tmp_path / "mine.yaml"
    assert main(["init", str(data), "--yes", "--out", str(out)]) == 2
    assert "--columns query=NAME" in capsys.readouterr().err and not out.exists()
    named = "query=term,passage=snippet,label=rating"
    assert main(["init", str(data), "--yes", "--out", str(out), "--columns", named]) == 0
    assert yaml.safe_load(out.read_text())["pairs"]["columns"] == {
        "query": "term", "passage": "snippet", "label": "rating",
    }  # fmt: skip


def graded(folder: Path) -> Path:
    stars = [{**row, "label": 1 + number % 5} for number, row in enumerate(rows())]
    return write_csv(folder / "stars.csv", stars)


def test_labels_that_are_all_above_0_are_split_in_the_middle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine.yaml"
    assert main(["init", str(graded(tmp_path)), "--yes", "--out", str(out)]) == 0
    assert (
        "grades: 1: 5 pairs, 2: 5 pairs, 3: 5 pairs, 4: 5 pairs, 5: 4 pairs; relevant from 4" in capsys.readouterr().out
    )
    assert "relevant_from: 4  " in out.read_text() and "5: 4 pairs" in out.read_text()


def test_pairs_without_a_label_are_counted_and_left_out_unless_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "half.csv", tmp_path / "mine.yaml"
    write_csv(data, [{**row, "label": "" if n % 3 else n % 2} for n, row in enumerate(rows())])
    assert main(["init", str(data), "--yes", "--out", str(out)]) == 0
    assert "16 pairs without a label: left out" in capsys.readouterr().out
    assert "unlabelled: drop" in out.read_text() and "16 of 24 pairs have no label" in out.read_text()
    words = ["pairs", str(out), "pairs.negatives=none", "pairs.split=train", "evaluation.sets=[]", "--out"]
    for more, kept, said in (
        ([], 8, "left out: 16 pairs without"),
        (["pairs.unlabelled=ask"], 24, "labels: 16 pairs without one"),
    ):
        folder = tmp_path / f"run-{kept}"
        assert main([*words, str(folder), *more]) == 0
        assert said in capsys.readouterr().err
        assert json.loads((folder / "metrics.json").read_text())["stages"]["pairs"]["pairs"] == kept


def two_qrels(folder: Path) -> Path:
    place = trec(folder)
    lines = (place / "qrels.txt").read_text().splitlines(keepends=True)
    (place / "qrels.txt").unlink()
    (place / "qrels.human.txt").write_text("".join(lines[:12]))
    (place / "qrels.crowd.txt").write_text("".join(lines[12:]))
    return place


def test_of_several_files_of_judgements_one_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place, out = two_qrels(tmp_path), tmp_path / "mine.yaml"
    command = ["init", str(place), "--yes", "--out", str(out)]
    assert main(command) == 2
    assert "has judgements of crowd, human, none called train; say with --split" in capsys.readouterr().err
    assert main([*command, "--split", "human"]) == 0
    assert "12 pairs of 6 queries in split human" in (said := capsys.readouterr().out)
    assert "not read: the judgements of crowd" in said
    pairs = yaml.safe_load(out.read_text())["pairs"]
    assert pairs["qrels"] == "human" and pairs["split"]["train"] == 0.8


@pytest.mark.parametrize("name", ["run.bm25.trec", "bm25.txt", "run.bm25.txt"])
def test_a_run_in_the_folder_is_the_first_stage_of_the_evaluation(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, out = trec(tmp_path), tmp_path / "mine.yaml"
    runs = [f"{query} Q0 d{2 * query + rank} {rank + 1} {9 - rank} bm25\n" for query in range(10) for rank in (0, 1)]
    (place / name).write_text("".join(runs))
    (place / "run.dense.txt").write_text("".join(runs[:4]))
    (place / "numbers.txt").write_text("1 2 3\n")
    assert main(["init", str(place), "--yes", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert f"first stage of the evaluation: {name}, a TREC run of 10 of 12 judged queries" in said
    assert "not read: numbers.txt, run.dense.txt\n" in said
    assert yaml.safe_load(out.read_text())["evaluation"]["sets"][0]["first_stage"] == f"trec/{name}"


def test_judgements_that_are_left_out_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = three_tables(tmp_path)
    texts = (place / "corpus.csv").read_text().replace("part 1 is", "part 0 is")
    (place / "corpus.csv").write_text(texts)
    assert main(["init", str(place), "--yes", "--out", str(tmp_path / "mine.yaml")]) == 0
    said = capsys.readouterr().out
    assert "23 pairs of 12 queries" in said and "left out: 1 judged pair: duplicates" in said
    assert "labels: 1 contradictory; the higher grade counts" in said


def test_labels_as_teacher_asks_nobody_and_trains_without_reasoning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine.yaml"
    command = ["init", str(csv(tmp_path)), "--base", "scratch", "--teacher", "labels", "--out", str(out)]
    assert main(command) == 0
    made = yaml.safe_load(out.read_text())
    assert made["teacher"] == {"source": "labels"} and made["sft"]["targets"] == ["direct"]
    assert main(["init", str(unlabelled(tmp_path)), *command[2:], "--force"]) == 2
    assert "has none: name a teacher" in capsys.readouterr().err
    assert main(["init", str(tmp_path / "nothing.csv"), "--teacher", "gpt", "--yes"]) == 2
    assert "--teacher gpt: is none of deepseek, ollama, labels" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("base", "bounded"), [("scratch", True), ("a/SmolLM2-135M", True), ("Qwen/Qwen2.5-0.5B", False)]
)
def test_the_documented_filters_are_written_and_a_bound_for_small_bases_alone(
    base: str, bounded: bool, tmp_path: Path
) -> None:
    url, data = "http://127.0.0.1:9/v1", DataFound("table", {}, [], pairs=2, grades={0: 1, 1: 1})
    answers = Answers({}, Teacher(url, "m"), base, None)
    text = configuration("mine", tmp_path / "a.csv", tmp_path / "mine.yaml", data, answers, gpu=False)
    filters = yaml.safe_load(text)["filters"]
    assert filters[: len(DEFAULT)] == list(DEFAULT) and ("length" in filters[-1]) is bounded
    assert "add api_key_env: NAME" in text


def without_qrels(folder: Path) -> Path:
    place = trec(folder)
    (place / "qrels.txt").unlink()
    return place


def beir_without_qrels(folder: Path) -> Path:
    texts_of(folder / "beir")
    return folder / "beir"


def beir_with_an_empty_test(folder: Path) -> Path:
    place = beir(folder)
    (place / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n")
    return place


def beir_of_another_corpus(folder: Path) -> Path:
    place = beir(folder)
    lines = (place / "corpus.jsonl").read_text().splitlines(keepends=True)
    (place / "corpus.jsonl").write_text("".join(lines[:20]))
    return place


def two_files_of_topics(folder: Path) -> Path:
    place = trec(folder)
    (place / "topics.test.txt").write_text("<top>\n<num> Number: 99\n<title> another\n</top>\n")
    return place


def decimal(folder: Path) -> Path:
    return write_csv(folder / "decimal.csv", rows(label=lambda other: 1 - other / 2))


def words(folder: Path) -> Path:
    return write_csv(folder / "words.csv", rows(label=lambda other: "EI"[other]))


def judged_twice(folder: Path) -> Path:
    table = rows(label=relevant, doc_id=lambda other: other)
    for number, row in enumerate(table):
        row["doc_id"] = f"d{number}"
    return write_csv(folder / "twice.csv", [*table, {**table[0], "label": 0}])


def two_queries(folder: Path) -> Path:
    return write_csv(folder / "few.csv", rows(label=relevant)[:4])


def workbook(folder: Path) -> Path:
    (folder / "book.xlsx").write_bytes(b"PK\x03\x04rest")
    return folder / "book.xlsx"


def header_alone(folder: Path) -> Path:
    (folder / "header.csv").write_text("query,passage,label\n")
    return folder / "header.csv"


def no_header(folder: Path) -> Path:
    table = write_csv(folder / "bare.tsv", rows(label=relevant), "\t")
    table.write_text(table.read_text().split("\n", 1)[1])
    return table


REFUSED: dict[Callable[[Path], Path], str] = {
    without_qrels: "and no judgements (a file called qrels",
    beir_without_qrels: "a BEIR folder has them as qrels/train.tsv",
    beir_with_an_empty_test: "test.tsv: is empty",
    beir_of_another_corpus: "has no text in corpus.jsonl",
    two_files_of_topics: "topics.test.txt and topics.txt, of which one is read as queries",
    decimal: "'0.5' is not an integer",
    words: "map({'E': 3, 'I': 0})",
    judged_twice: "is judged twice",
    two_queries: "has no query with a label in split 'test'",
    workbook: "a workbook of Excel or LibreOffice; unpack it, or save the sheet as CSV",
    header_alone: "a line of names and no row below it",
    no_header: "put the columns' names above it",
}


@pytest.mark.parametrize("make", list(REFUSED), ids=lambda make: make.__name__)
def test_what_pairs_or_the_evaluation_would_refuse_is_refused(
    make: Callable[[Path], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine.yaml"
    assert main(["init", str(make(tmp_path)), "--yes", "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert REFUSED[make] in said and said.count("\n") == 1 and not out.exists()


def test_excels_text_with_tabs_is_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write_csv(tmp_path / "book.txt", rows(label=relevant), "\t")
    table.write_bytes(table.read_text().encode("utf-16"))
    assert main(["init", str(table), "--yes", "--out", str(tmp_path / "mine.yaml")]) == 0
    assert "24 pairs of 12 queries: 12 relevant, 12 not" in capsys.readouterr().out


def test_columns_are_asked_for_again(tmp_path: Path) -> None:
    data, out = csv(tmp_path), tmp_path / "mine.yaml"
    data.write_text(data.read_text().replace("query,passage", "term,answer", 1))
    command = ["-m", "distill.cli", "init", str(data), "--out", str(out), "--teacher", "ollama", "--base", "some/model"]
    typed = b"what\nquery=term,passage=answr\npassage=answer\ndeepseek-r1:8b\n"
    shown = in_terminal(command, typed)
    assert shown.count("Which columns?") == 3 and "no column 'answr'" in shown
    assert yaml.safe_load(out.read_text())["pairs"]["columns"] == {"query": "term", "passage": "answer"}


def test_without_a_terminal_the_flags_are_named(tmp_path: Path) -> None:
    data = csv(tmp_path)
    command = [sys.executable, "-m", "distill.cli", "init", str(data), "--out", str(tmp_path / "mine.yaml")]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert all(flag in result.stderr for flag in ("--teacher", "--teacher-model", "--base", "--yes"))
    flags = ["--teacher", "ollama", "--base", "some/model"]
    result = subprocess.run([*command, *flags], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    written = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    assert written["sft"]["base"] == "some/model" and written["teacher"]["endpoints"][0]["model"] == "deepseek-r1:8b"


def test_in_a_terminal_it_asks(tmp_path: Path) -> None:
    data, out = csv(tmp_path), tmp_path / "mine.yaml"
    words = ["-m", "distill.cli", "init", str(data), "--out", str(out)]
    shown = in_terminal(words, b"http://127.0.0.1:9/v1\nmy-model\n\n")
    assert shown.count("Teacher (") == shown.count("Its model") == shown.count("Base of the students") == 1
    assert "Budget" not in shown, "a teacher on this machine costs nothing"
    endpoint = yaml.safe_load(out.read_text())["teacher"]["endpoints"][0]
    assert (endpoint["base_url"], endpoint["model"]) == ("http://127.0.0.1:9/v1", "my-model")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "init needs DATA"),
        (["nowhere.csv", "--yes"], "nowhere.csv: no such file or folder"),
        (["--recipe", "quikstart"], "no such recipe (nearest is 'quickstart')"),
        (["judged.csv", "--yes", "--teacher", "http://example.com/v1"], "--teacher-model NAME is needed"),
        (["judged.csv", "--yes", "--teacher", "deepsek"], "is none of deepseek, ollama"),
        (["judged.csv", "--yes", "--columns", "query"], "--columns query: is WHAT=NAME"),
        (["judged.csv", "--yes", "--out", "mine.yaml"], "mine.yaml: exists"),
        (["empty", "--yes"], "empty: is no table"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    csv(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "mine.yaml").write_text("keep me\n")
    assert main(["init", *words]) == 2
    printed = capsys.readouterr()
    assert message in printed.err and printed.err.count("\n") == 1
    assert (tmp_path / "mine.yaml").read_text() == "keep me\n"


def test_every_recipe_can_be_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [path.relative_to(ROOT / "configs").with_suffix("") for path in sorted((ROOT / "configs").rglob("*.yaml"))]
    assert len(names) > 5 and RECIPES.is_dir()
    for name in names:
        assert main(["init", "--recipe", str(name)]) == 0
        written = yaml.safe_load(Path(f"{name.name}.yaml").read_text())
        assert written == yaml.safe_load((ROOT / "configs" / f"{name}.yaml").read_text())
    assert main(["init", "--recipe", "list"]) == 0
    assert all(str(name) in capsys.readouterr().out for name in names[:1])


def test_the_recipes_are_package_data() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["distill"]
    files = {path.name for pattern in patterns for path in (ROOT / "distill").glob(pattern)}
    assert files == {path.name for path in (ROOT / "configs").rglob("*.yaml")}
