"""Labels from clicks: against what was shown at the same positions, with few impressions left unlabelled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distill.cli import main
from distill.errors import DataError
from distill.pairs.build import build
from distill.pairs.settings import PairSettings
from distill.records import Pair

Rows = list[dict[str, Any]]


def row(doc: int, clicks: Any, impressions: Any = None, position: Any = None, query: str = "fox", **more: Any) -> Any:
    values = {"query": query, "passage": f"text {doc}", "clicks": clicks, "impressions": impressions}
    return {**{k: v for k, v in {**values, "position": position}.items() if v is not None}, **more}


LIFT = {"confidence": 0}  # the lift alone decides


def made(folder: Path, rows: Rows, name: str = "log.jsonl", **settings: Any) -> tuple[dict[str, int | None], Any]:
    """({passage: label}, what the terminal says)."""
    (folder / name).write_text("".join(json.dumps(each) + "\n" for each in rows))
    lines: list[str] = []
    given = {"source": "table", "path": name, "negatives": "none", **settings}
    pairs, _ = build(PairSettings.model_validate(given), 0, folder / name, folder, notify=lines.append)
    return {pair.passage: pair.label for pair in pairs}, lines


def test_clicks_are_a_rate_and_never_a_grade(tmp_path: Path) -> None:
    rows = [row(0, 37, 50), row(1, 20, 50), row(2, 2, 50), row(3, 0, 50), row(4, 3, 5), row(5, 300, 400)]
    found, lines = made(tmp_path, rows)
    assert found == {"text 0": 1, "text 1": None, "text 2": 0, "text 3": 0, "text 4": None, "text 5": 1}
    said = [line for line in lines if line.startswith("source: ")]
    assert said == [
        "source: 4 pairs labelled by clicks",
        "source: 1 pair between not_relevant_below and relevant_from: no label",
        "source: 1 pair with fewer than least_impressions 10: no label",
    ]


def test_a_passage_is_compared_with_others_at_its_position(tmp_path: Path) -> None:
    """At rank 1 anything is clicked by half of the people, at rank 5 by one in twenty."""
    first = [row(n, 50, 100, 1, f"query {n}") for n in range(8)]
    fifth = [row(100 + n, 5, 100, 5, f"query {n}") for n in range(8)]
    tested = [row(200, 30, 100, 5), row(201, 30, 100, 1), row(202, 5, 100, 1)]
    with_positions, _ = made(tmp_path, [*first, *fifth, *tested], clicks=LIFT)
    assert (with_positions["text 200"], with_positions["text 201"], with_positions["text 202"]) == (2, None, 0)
    without, _ = made(
        tmp_path,
        [{k: v for k, v in each.items() if k != "position"} for each in (*first, *fifth, *tested)],
        clicks=LIFT,
    )
    assert without["text 200"] == without["text 201"] == 1


def test_rows_of_one_pair_are_added_up(tmp_path: Path) -> None:
    rows = [row(0, 3, 6, 1), row(0, 3, 6, 2), row(1, 0, 6, 1), row(1, 0, 6, 2)]
    assert made(tmp_path, rows)[0] == {"text 0": 1, "text 1": 0}
    assert made(tmp_path, rows, clicks={"least_impressions": 13})[0] == {"text 0": None, "text 1": None}


def test_smoothing_and_thresholds_are_settings(tmp_path: Path) -> None:
    rows = [row(0, 6, 10), row(1, 2, 10), row(2, 4, 10)]  # lifts without smoothing 1.5, 0.5, 1
    assert made(tmp_path, rows, clicks={**LIFT, "smoothing": 0})[0] == {"text 0": 1, "text 1": None, "text 2": 1}
    sharp = {**LIFT, "smoothing": 0, "very_relevant_from": 1.4, "not_relevant_below": 0.9}
    assert made(tmp_path, rows, clicks=sharp)[0] == {"text 0": 2, "text 1": 0, "text 2": 1}
    assert made(tmp_path, rows, clicks={**LIFT, "smoothing": 1000})[0] == {"text 0": 1, "text 1": None, "text 2": 1}


def test_a_lift_that_chance_may_give_is_no_label(tmp_path: Path) -> None:
    """Of 100 impressions 5 are clicked elsewhere: 6 clicks say nothing, 9 do; and less is asked for by a setting."""
    others = [row(100 + n, 5, 100, 1, f"query {n}") for n in range(20)]
    tested = [row(0, 6, 100, 1), row(1, 9, 100, 1), row(2, 7, 100, 1)]
    found, lines = made(tmp_path, [*others, *tested])
    assert (found["text 0"], found["text 1"], found["text 2"]) == (None, 1, None)
    assert "source: 2 pairs above relevant_from that may be so by chance (clicks.confidence): no label" in lines
    found, _ = made(tmp_path, [*others, *tested], clicks={"confidence": 0.7})
    assert (found["text 0"], found["text 1"], found["text 2"]) == (None, 1, 1)


def test_without_impressions_only_clicks_say_something(tmp_path: Path) -> None:
    found, lines = made(tmp_path, [row(0, 37), row(1, 2), row(2, 0)])
    assert found == {"text 0": 1, "text 1": None, "text 2": None}
    assert any("2 pairs with fewer than least_clicks 3" in line for line in lines)


@pytest.mark.parametrize("columns", [{"label": "clicks"}, {"clicks": "Click Count"}, {}])
def test_columns_by_other_names(tmp_path: Path, columns: dict[str, str]) -> None:
    name = columns.get("clicks", "clicks" if columns else "click_count")
    rows = [{name: each.pop("clicks"), **each} for each in (row(0, 37, 50), row(1, 0, 50))]
    assert made(tmp_path, rows, columns=columns)[0] == {"text 0": 1, "text 1": 0}


def test_labels_win_over_clicks(tmp_path: Path) -> None:
    rows = [row(0, 37, 50, label=0), row(1, 0, 50, label=3)]
    assert made(tmp_path, rows)[0] == {"text 0": 0, "text 1": 3}
    rows = [row(0, 37, 50, score=0), row(1, 0, 50, score=3)]
    with pytest.raises(DataError, match="has columns of clicks and 'score'; name columns.clicks or columns.label"):
        made(tmp_path, rows)
    assert made(tmp_path, rows, columns={"label": "score"})[0] == {"text 0": 0, "text 1": 3}
    assert made(tmp_path, rows, columns={"clicks": "clicks"})[0] == {"text 0": 1, "text 1": 0}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (row(0, 11, 10), "log.jsonl:2: 11 clicks in 10 impressions"),
        (row(0, -1, 10), "log.jsonl:2: clicks -1 is no whole number from 0 on"),
        (row(0, 1.5, 10), "log.jsonl:2: clicks 1.5 is no whole number"),
        (row(0, 1, "many"), "log.jsonl:2: impressions 'many' is no whole number"),
        (row(0, 1, float("nan")), "log.jsonl:2: no number of impressions"),
    ],
)
def test_counts_that_are_none_are_named(tmp_path: Path, wrong: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        made(tmp_path, [row(9, 1, 10), wrong])


def test_three_tables(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"_id": "a", "text": "red fox"}\n{"_id": "b", "text": "old dog"}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "fox"}\n')
    (tmp_path / "clicks.csv").write_text("query_id,doc_id,position,clicks,views\nq,a,1,37,50\nq,b,1,,50\n")
    files = {"corpus": "corpus.jsonl", "queries": "queries.jsonl", "qrels": "clicks.csv"}
    settings = PairSettings(source="table", files=files)
    pairs, _ = build(settings, 0, tmp_path, tmp_path)
    assert {pair.doc_id: pair.label for pair in pairs} == {"a": 1, "b": 0}


def test_the_command_says_what_clicks_became(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row(0, 37, 50), row(1, 0, 50), row(2, 1, 2)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    (tmp_path / "c.yaml").write_text("name: c\npairs: {source: table, path: log.jsonl}\nteacher: {source: example}\n")
    assert main(["pairs", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "run")]) == 0
    assert "source: 1 pair with fewer than least_impressions 10: no label" in capsys.readouterr().err
    from distill.store import read_rows

    assert {pair.label for pair in read_rows(tmp_path / "run" / "pairs", Pair)} == {1, 0, None}


def test_a_pair_is_never_compared_with_itself_alone(tmp_path: Path) -> None:
    """One pair at each position, 1 click in 1,000 included, says nothing; nor does a pair that is the whole table."""
    rows = [row(n, clicks, 1000, n + 1, f"query {n}") for n, clicks in enumerate([300, 90, 40, 20, 9, 5, 3, 2, 1, 1])]
    found, lines = made(tmp_path, rows)
    assert set(found.values()) == {None}
    assert "source: 10 pairs at positions where too little else was shown to compare with: no label" in lines
    assert made(tmp_path, [row(0, 1, 100_000)])[0] == {"text 0": None}


def test_a_pair_shown_far_oftener_than_the_others_does_not_set_its_own_rate(tmp_path: Path) -> None:
    rows = [row(0, 20, 100_000, 1), row(1, 30, 100, 1, "dog"), row(2, 25, 100, 1, "cat")]
    assert made(tmp_path, rows)[0]["text 0"] == 0  # by the rate of all it would be 0.9 of what is expected


def test_most_impressions_need_others_at_their_position(tmp_path: Path) -> None:
    others = [row(n, 20, 100, 2, f"query {n}") for n in range(1, 4)]
    assert made(tmp_path, [row(0, 90, 300, 1), row(0, 30, 100, 2), *others])[0]["text 0"] is None
    assert made(tmp_path, [row(0, 90, 100, 1), row(0, 10, 100, 2), *others])[0]["text 0"] is None  # lift 0.56 at 2
    assert made(tmp_path, [row(0, 90, 100, 1), row(0, 80, 100, 2), *others])[0]["text 0"] == 2


def test_average_positions_lie_between_two(tmp_path: Path) -> None:
    """At 1 half is clicked, at 2 a tenth: 30 in 100 are what is expected at 1.5."""
    around = [row(n, 500, 1000, 1, f"query {n}") for n in range(1, 9)]
    around += [row(n, 100, 1000, 2, f"query {n}") for n in range(9, 17)]
    for clicks, label in ((31, 1), (25, None), (10, 0), (65, 2)):
        assert made(tmp_path, [*around, row(0, clicks, 100, 1.5)], clicks=LIFT)[0]["text 0"] == label
    found, lines = made(tmp_path, [row(0, 50, 1000, 1.4), row(1, 5, 1000, 2.7)])
    assert found == {"text 0": None, "text 1": None}
    assert any("2 pairs at positions where too little else" in line for line in lines)


def test_least_clicks_bounds_both_grades(tmp_path: Path) -> None:
    rows = [row(0, 2, 10), row(1, 0, 10), *(row(n, 1, 20) for n in range(2, 12))]
    found, lines = made(tmp_path, rows)
    assert found["text 0"] is None and found["text 1"] is None
    assert any("above relevant_from with fewer than least_clicks 3: no label" in line for line in lines)
    assert made(tmp_path, rows, clicks={**LIFT, "least_clicks": 2})[0]["text 0"] == 2
    rows = [row(0, 0, 40), *(row(n, 5, 100) for n in range(1, 12))]  # 1.9 clicks expected
    assert made(tmp_path, rows)[0]["text 0"] is None
    assert made(tmp_path, rows, clicks={"least_clicks": 1})[0]["text 0"] == 0


def test_rows_that_are_left_out_count_nowhere(tmp_path: Path) -> None:
    rows = [row(0, 50, 100, 1), row(1, 48, 100, 1), row(2, 5, 100, 1)]
    whole, _ = made(tmp_path, rows)
    total = {"query": "Total", "passage": "", "clicks": 103, "impressions": 100_000, "position": 1}
    nobody = {"query": " ", "passage": "text 3", "clicks": 9000, "impressions": 9000, "position": 1}
    found, lines = made(tmp_path, [*rows, total, nobody], missing=0.5)
    assert whole == {name: found[name] for name in whole} == {"text 0": 1, "text 1": 1, "text 2": 0}
    assert "source: 2 pairs with an empty query or passage: no label" in lines


def test_a_row_an_impression(tmp_path: Path) -> None:
    rows = [row(0, n < 30) for n in range(50)] + [row(1, n < 2) for n in range(50)]
    found, lines = made(tmp_path, rows)
    assert found == {"text 0": 1, "text 1": 0}
    assert any(line.startswith("source: 100 rows taken as one impression each") for line in lines)
    assert made(tmp_path, [row(0, 1) for _ in range(5)] + [row(1, 1)])[0] == {"text 0": 1, "text 1": None}


def test_passages_without_a_text_count_at_their_position(tmp_path: Path) -> None:
    """A cleaned corpus leaves the labels of what is left as they were."""
    log = [("d0", 30), *((f"d{n}", 5) for n in range(1, 9))]
    rows = "".join(f"q,{doc},1,{clicks},100\n" for doc, clicks in log)
    (tmp_path / "clicks.csv").write_text("query_id,doc_id,position,clicks,views\n" + rows)
    (tmp_path / "queries.csv").write_text("id,text\nq,fox\n")
    labels = []
    for kept in (log, log[:3]):
        (tmp_path / "corpus.csv").write_text("id,text\n" + "".join(f"{doc},text {doc}\n" for doc, _ in kept))
        files = {"corpus": "corpus.csv", "queries": "queries.csv", "qrels": "clicks.csv"}
        given = {"source": "table", "files": files, "negatives": "none", "missing": 0.9}
        lines: list[str] = []
        pairs, _ = build(PairSettings.model_validate(given), 0, tmp_path, tmp_path, notify=lines.append)
        labels.append({pair.doc_id: pair.label for pair in pairs})
    assert len(labels[0]) == 9 and labels[0]["d0"] == 2
    assert labels[1] == {doc: labels[0][doc] for doc, _ in log[:3]}
    assert any("left out: 6 labels of passages without a text" in line for line in lines)


@pytest.mark.parametrize(("name", "other"), [("impressions", "views"), ("position", "rank"), ("clicks", "num_clicks")])
def test_two_columns_that_may_both_be_it(tmp_path: Path, name: str, other: str) -> None:
    rows = [row(0, 37, 50, 1, **{other: 5}), row(1, 0, 50, 1, **{other: 5})]
    with pytest.raises(DataError, match=f"'{name}' and '{other}' may both be the {name}; name one in columns.{name}"):
        made(tmp_path, rows)
    assert made(tmp_path, rows, columns={name: name})[0] == {"text 0": 1, "text 1": 0}


def test_impressions_by_a_short_name(tmp_path: Path) -> None:
    rows = [{"query": "a", "passage": f"p{n}", "clicks": clicks, "imps": 1000} for n, clicks in enumerate((5, 400, 1))]
    assert made(tmp_path, rows)[0] == {"p0": 0, "p1": 2, "p2": 0}


@pytest.mark.parametrize("position", [-1, "top"])
def test_a_position_that_is_none(tmp_path: Path, position: object) -> None:
    with pytest.raises(DataError, match=f"log.jsonl:1: position {position!r} is no number from 0 on"):
        made(tmp_path, [row(0, 1, 10, position)])
