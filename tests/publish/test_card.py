"""The dataset card: a header that the hub takes, numbers that are the run's, and no markup of anybody else's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_run import HOSTILE, make_pairs, make_trace, write_run

from distill import config, store
from distill.errors import ConfigError
from distill.publish import model
from distill.publish.card import fenced, words
from distill.publish.export import export
from distill.publish.settings import DatasetSettings
from distill.publish.tally import RowCounts


def card(run: Path, settings: DatasetSettings | None = None, to: str = "dataset", name: str | None = None) -> str:
    folder = export(run, to, run / "out", settings, name)["folder"]
    return (Path(folder) / "README.md").read_text(encoding="utf-8")


def head(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return found


def table(text: str, first: str) -> list[str]:
    """The cells of the row that begins with `first`."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {first} |"))
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_the_header_names_what_the_hub_asks_for(run: Path) -> None:
    from huggingface_hub import DatasetCard

    text = card(run)
    found = head(text)
    assert found["license"] == "cc-by-4.0" and found["language"] == ["en"] and found["size_categories"] == ["n<1K"]
    assert [each["split"] for each in found["configs"][0]["data_files"]] == ["train", "validation"]
    assert {s["name"]: s["num_examples"] for s in found["dataset_info"]["splits"]} == {"train": 10, "validation": 5}
    assert {"name": "verdict", "dtype": "int64"} in found["dataset_info"]["features"]
    assert DatasetCard(text).data.license == "cc-by-4.0"


def test_a_licence_that_the_hub_does_not_list_is_other_by_name(run: Path) -> None:
    found = head(card(run, DatasetSettings(licence="Research only, see NIST")))
    assert (found["license"], found["license_name"]) == ("other", "research-only-see-nist")
    without = card(run, DatasetSettings())
    assert "license" not in head(without) and "**No licence was named.**" in without


def test_the_numbers_are_the_runs(run: Path) -> None:
    text = card(run)
    assert table(text, "pairs") == ["pairs", "20"] and table(text, "samples due") == ["samples due", "16"]
    assert table(text, "kept")[1] == "15" and table(text, "finished")[1] == "1"
    assert table(text, "label changed")[1] == "1" and table(text, "with an instruction")[1] == "5"
    assert "length (max 9)" in text
    assert table(text, "sampling.temperature") == ["sampling.temperature", "0.6"]
    assert table(text, "source")[1] == "qrels: 8, bm25: 7"
    assert "7 rows have an assumed label" in text
    assert "Determine if the following passage is relevant to the query." in text
    mean = float(table(text, "teacher tokens")[1])
    assert mean == pytest.approx((14 * 40 + 41) / 15, abs=0.05)


def test_the_card_for_trl_says_how_to_train_without_a_gpu(run: Path) -> None:
    assert "Without a GPU, add `--bf16 False --use_cpu True`." in card(run, to="trl")


@pytest.mark.parametrize(
    ("relevant", "rows", "key"), [(2, 10, None), (1, 6, "negatives_per_positive"), (0, 6, "negatives_per_positive"),
                                  (5, 6, "per_label"), (4, 5, None)],
)  # fmt: skip
def test_one_sided_rows_and_queries_without_a_relevant_one_are_named(relevant: int, rows: int, key: str | None) -> None:
    notes = RowCounts(rows=rows, relevant=relevant, queries={"a", "b"}, with_relevant={"a"}).notes()
    assert notes[0] == "queries whose kept rows are all not relevant: 1 of 2"
    assert len(notes) == (1 if key is None else 2) and (key is None or f"`balance` ({key})" in notes[1])


def test_nothing_written_by_others_is_markup(run: Path) -> None:
    prose = re.sub(r"(?ms)^(`{3,}).*?^\1$", "", card(run))
    assert "<i>" not in prose and "<b>" not in prose and "<script" not in prose
    assert table(prose, r"Corpus \| &lt;i&gt;X&lt;/i&gt;") == [r"Corpus \| &lt;i&gt;X&lt;/i&gt;", "MIT"]
    assert r"cut \| off &lt;b&gt; (1)" in prose


def test_a_hostile_example_cannot_leave_its_block(tmp_path: Path) -> None:
    pair = next(pair for pair in make_pairs() if pair.passage == HOSTILE)
    run = write_run(tmp_path / "run", make_pairs(), [make_trace(pair, reasoning="````\n<img src=x>")])
    prose = re.sub(r"(?ms)^(`{3,})(?:text|python)?$.*?^\1$", "", card(run))
    assert "<img" not in prose and "<script" not in prose
    assert fenced("a ````` b").startswith("``````text\n")


def test_words_hold_no_link_and_no_cell() -> None:
    assert words("see [x](https://a.b) | <a>\n# b") == r"see \[x\](https&#8203;://a.b) \| &lt;a&gt; \# b"


def test_the_card_tells_how_to_load_from_the_hub(run: Path) -> None:
    assert 'load_dataset("me/numbers", split="train")' in card(run, name="me/numbers")
    assert 'load_dataset("me/numbers", "triplets")' in card(run, to="sentence-transformers", name="me/numbers")


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"license": "mit"}, "license is not a known key; did you mean 'licence'?"),
        ({"language": "english language"}, "'english language' is no language code"),
        ({"licences": ["mit"]}, "licences"),
        ({"tags": ["a: [b"]}, "is no tag"),
    ],
)
def test_wrong_settings_are_named(raw: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        config.validate(DatasetSettings, raw, "c.yaml")
    assert says in str(error.value)


def test_a_students_card_has_no_figure_of_the_set_that_something_was_chosen_on(tmp_path: Path) -> None:
    measured = {"first_stage": {"nDCG@10": 0.5}, "think": {"nDCG@10": 0.625}}
    store.write_json(tmp_path / "metrics.json", {"evaluation": {"dev": measured, "mine": measured}})
    (tmp_path / "config.yaml").write_text("{name: my, evaluation: {calibrate_on: dev}}")
    student = tmp_path / "students" / "think"
    student.mkdir(parents=True)
    text = model.card(student)
    assert re.search(r"\| mine +\| think +\| 0\.625 ", text) and "dev" not in text
    store.write_json(tmp_path / "metrics.json", {"evaluation": {"dev": measured}})
    assert re.search(r"\| dev +\| think +\| 0\.625 ", model.card(student)), "there is no other"
