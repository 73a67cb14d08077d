"""Tests beside values, the honest box, the ablations' table, and the figures and tables for a paper."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from fabricate import ablate, fabricate
from test_report import Page, page_of

from distill import store
from distill.report.figures import draw


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fabricate(tmp_path_factory.mktemp("run"), queries=40)


def test_a_significant_difference_is_marked_and_explained(run: Path, tmp_path: Path) -> None:
    page = page_of(run)
    assert "p 0.001 against the first stage" in page.values("title")
    assert "† differs from the first stage" in page.text
    dull = page_of(fabricate(tmp_path, queries=40, gain=0.05))
    assert "p 0.700 against the first stage" not in dull.values("title")


def test_the_honest_box_says_what_is_so(run: Path, tmp_path: Path) -> None:
    text = page_of(run).text
    assert "What this evaluation cannot say" in text
    assert "hold 96 % of the 120 relevant passages" in text and "Every student was trained once" in text
    assert "never judged and counts as not relevant" not in text  # 0.98 are judged
    other = fabricate(tmp_path, queries=40)
    metrics = store.read_json(other / "metrics.json")
    metrics["evaluation"]["test"]["think"]["Judged@10"] = 0.7
    store.write_json(other / "metrics.json", metrics)
    assert "30 % of the top of Think was never judged" in page_of(other).text
    values = {"think": {"nDCG@10": 0.5}}
    metrics["holes"] = {
        "test": {
            "before": values, "after": {"think": {"nDCG@10": 0.61}}, "error": {"think": {"nDCG@10": [0.58, 0.63]}},
            "graded": 50, "agreement": {"pairs": 200, "relevant": 0.8, "kappa": 0.55, "bias": 0.2},
        }
    }  # fmt: skip
    store.write_json(other / "metrics.json", metrics)
    text = page_of(other).text
    assert "goes from 0.500 to 0.610, 0.580 to 0.630 with the teacher's errors" in text
    assert "never judged and counts" not in text


def test_a_set_of_contrasts_speaks_of_its_own_measure(tmp_path: Path) -> None:
    run = fabricate(tmp_path, queries=40)
    metrics, detail = store.read_json(run / "metrics.json"), store.read_json(run / "evaluation" / "test.json")
    for system, values in metrics["evaluation"]["test"].items():
        values["p-MRR"] = 0.02 if system == "first_stage" else 0.31
        detail["per_query"][system]["p-MRR"] = {f"u{n}": values["p-MRR"] for n in range(30)}
    store.write_json(run / "metrics.json", metrics)
    store.write_json(run / "evaluation" / "test.json", detail)
    page = page_of(run)
    assert "lifts p-MRR on test from 0.020 to 0.310" in page.text
    assert "by how much nDCG@10 differs" in page.text  # the queries are told apart by what has a value for each


def test_ablations_stand_in_a_table_with_their_cost(tmp_path: Path) -> None:
    page = page_of(ablate(fabricate(tmp_path, queries=20)))
    assert "ablation" in page.values("id") and "students: direct_100" in page.text
    assert "< 0.001" in page.text and "$1.25, 123.5 k tokens" in page.text
    assert "nDCG@10 on test by training size" in page.text
    assert "ablation" not in page_of(fabricate(tmp_path / "other", queries=20)).values("id")


def test_figures_are_whole_equal_and_drawn_once(tmp_path: Path) -> None:
    run = ablate(fabricate(tmp_path, queries=20))
    made = draw(run)
    names = {path.name for path in made}
    stems = ("test", "test-tokens", "ablation-size", "ablation-tokens")
    assert names == {f"{stem}.{kind}" for stem in stems for kind in ("svg", "png")}
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in made}
    texts = "".join(ET.tostring(ET.parse(path).getroot(), "unicode") for path in made if path.suffix == ".svg")
    assert "Think" in texts and "pairs trained on" in texts and "mean and 95 % interval" in texts
    assert all(data.startswith(b"\x89PNG") for path, (data, _) in before.items() if path.suffix == ".png")
    assert sorted(draw(run)) == sorted(made)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in made} == before
    (run / "figures" / "made_of.json").unlink()
    assert {path: path.read_bytes() for path in draw(run)} == {path: data for path, (data, _) in before.items()}
    page = page_of(run)
    assert {"figures/test.svg", "figures/test.png", "figures/ablation-size.svg"} <= set(page.values("href"))


def test_hostile_names_draw_as_text(tmp_path: Path) -> None:
    run = fabricate(tmp_path, queries=5)
    metrics = store.read_json(run / "metrics.json")
    name = "$\\frac{x$ <script>alert(1)</script> \x1b"
    metrics["evaluation"]["test"][name] = {"nDCG@10": 0.5, "tokens_per_pair": 3.0}
    store.write_json(run / "metrics.json", metrics)
    svg = next(path for path in draw(run) if path.name == "test.svg").read_text()
    assert "<script>" not in svg and "alert(1)" in svg
    assert not [tag for tag in Page(svg).tags if tag == "script"]


def test_nothing_is_drawn_before_anything_is_evaluated(tmp_path: Path) -> None:
    assert draw(fabricate(tmp_path, upto="sft")) == [] and not (tmp_path / "figures").exists()
