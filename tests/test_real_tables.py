"""benchmarks/real/run.py: every run that a table needs has a configuration that holds; what is pooled and shown."""

import argparse
import importlib.util
import sys
from pathlib import Path

import pytest

from distill.config import load
from distill.pipeline.config import RunConfig
from distill.results import RunMetrics, read_as
from distill.store import write_json

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks/real"))
import page
from measured import How, Row, Table, auc, merged, seconds_of

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("real_run", ROOT / "benchmarks/real/run.py")
assert SPEC is not None and SPEC.loader is not None
real_run = importlib.util.module_from_spec(SPEC)
sys.modules["real_run"] = real_run
SPEC.loader.exec_module(real_run)


def given(folder: Path) -> argparse.Namespace:
    return argparse.Namespace(
        data=folder / "data", runs=folder / "runs", base="b", of=5, folds=range(5), sizes=(250, 1000), depth=50,
        sets=list(real_run.JUDGED), zero_shot=list(real_run.JUDGED), chatreport=True,
    )  # fmt: skip


@pytest.mark.parametrize("table", "ABC")
def test_every_part_is_a_configuration_that_holds(table: str, tmp_path: Path) -> None:
    parts = list(real_run.TABLES[table](given(tmp_path)))
    assert len({part.name for part in parts}) == len(parts) > 3
    for part in parts:
        config = load(RunConfig, ROOT / "configs" / part.config, [f"name={part.name}", *part.settings])
        trained_on, tested = config.pairs.split, {entry.name: entry.split for entry in config.evaluation.sets}
        if part.judges:
            assert part.judges in {earlier.name for earlier in parts[: parts.index(part)]}
            assert tested.pop("dev") == "dev-0of5" and set(tested.values()) <= {"unseen-0of5", "test"}
        elif config.evaluation.fuse:
            fold = part.name.rpartition("-")[2]
            assert trained_on == f"train-{fold}" and tested.pop("dev") == f"dev-{fold}"
            assert set(tested.values()) == {f"test-{fold}"}


def test_auc_is_within_one_query_and_counts_ties_half() -> None:
    labels = {"a": 2.0, "b": 0.0, "c": 1.0, "d": 0.0}
    assert auc({"a": 3, "b": 1, "c": 2, "d": 2}, labels, 1) == pytest.approx((1 + 1 + 1 + 0.5) / 4)
    assert auc({"a": 1, "b": 1, "unjudged": 9}, labels, 2) == 0.5
    assert auc({"b": 1, "d": 2}, labels, 1) is None


def test_the_page_shows_what_is_there_and_says_what_is_not(tmp_path: Path) -> None:
    row = Row(
        system="first_stage", measures={"AUC": 0.5}, intervals={"AUC": [0.4, 0.6]}, p_first_stage={}, p_untrained={}
    )
    how = How(base="b", depth=20, settings=["seed=1"], of=5)
    table = Table(row="x", set="test", how=how, runs=["r"], queries=3, pairs=9, peak_gib=1.5, hours=0.2, systems=[
        row, Row(**{**row, "system": "untrained.fused"})])  # fmt: skip
    whole = Table(**{**table, "row": "y", "how": {**how, "of": 1}})
    other = Table(**{**table, "how": {**how, "base": "c"}})
    write_json(tmp_path / "A.json", {"tables": [table, whole, other]})
    written = tmp_path / "real.md"
    written.write_text("# Head\n<!-- A -->\nold\n<!-- end -->\nkept\n<!-- B -->\n<!-- end -->\n")
    for _ in range(2):  # written again, it is the same
        page.render(written, tmp_path)
        text = written.read_text()
        assert text.count("Base `b`, 20 passages a query; settings `seed=1`.") == 1 and "Base `c`" in text
        assert "**x, tested on test**: 1 of 5 runs, 3 queries" in text and "| BM25 | 0.500 [0.400, 0.600] |" in text
        assert "| the base, untrained, fused | 0.500" in text
        assert "**y, tested on test**: 3 queries, 9 pairs; 0.2 hours, at most 1.5 GiB." in text
        assert "old" not in text and "\nkept\n" in text
        assert "<!-- B -->\nNot made yet: no run is whole.\n<!-- end -->" in text
    assert not list(tmp_path.glob("*.svg"))


def test_quality_over_the_size_of_the_varied_set_is_drawn_from_the_untrained_base_on(tmp_path: Path) -> None:
    def system(name: str, value: float) -> Row:
        measures, intervals = dict.fromkeys(page.SHOWN, value), {key: [value - 0.1, value + 0.1] for key in page.SHOWN}
        return Row(system=name, measures=measures, intervals=intervals, p_first_stage={}, p_untrained={})

    tables = [
        Table(row=f"{size:,} varied queries", set="dl19", how=How(base="b", depth=20, settings=[], of=1), runs=["r"],
              queries=3, pairs=9, peak_gib=0, hours=0,
              systems=[system("first_stage", 0.5), system("untrained", 0.3), system("direct", quality)])
        for size, quality in ((250, 0.4), (4000, 0.6))
    ]  # fmt: skip
    write_json(tmp_path / "B.json", {"tables": tables})
    (tmp_path / "real.md").write_text("<!-- B -->\n<!-- end -->\n")
    drawn = []
    for _ in range(2):
        page.render(tmp_path / "real.md", tmp_path)
        drawn.append((tmp_path / "real-B.svg").read_text())
    assert drawn[0] == drawn[1] and all(
        text in drawn[0] for text in ("Base b, first 20", "BM25", "4000", "AUC on DL19")
    )


def test_the_hours_of_a_table_are_of_all_that_was_judged_and_of_training_where_it_was_this_runs() -> None:
    metrics = read_as(RunMetrics, {
        "stages": {"pairs": {"seconds": 10}, "sft": {"seconds": 1, "students": {"direct": {"seconds": 600}}},
                   "evaluate": {"seconds": 3, "sets": {"dev": {"pairs": 100}, "test": {"pairs": 300}}}},
        "evaluation": {"dev": {"first_stage": {}, "direct": {"pairs_per_s": 2.0}},
                       "test": {"direct": {"pairs_per_s": 1.0}}},
    })  # fmt: skip
    assert seconds_of(metrics, trained=True) == 10 + 600 + 50 + 300  # evaluate's 3 are of its last call, from the cache
    assert seconds_of(metrics, trained=False) == 50 + 300


def test_a_row_replaces_its_own_figures_alone() -> None:
    def table(row: str, base: str, queries: int) -> Table:
        how = How(base=base, depth=20, settings=[], of=1)
        return Table(row=row, set="test", how=how, runs=[], queries=queries, pairs=0, peak_gib=0, hours=0, systems=[])

    old = [table("x", "b", 1), table("x", "c", 2), table("y", "b", 3)]
    assert merged(old, [table("x", "c", 4), table("z", "b", 5)]) == [
        old[0], table("x", "c", 4), old[2], table("z", "b", 5)
    ]  # fmt: skip
