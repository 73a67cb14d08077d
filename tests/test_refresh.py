"""A run that refreshes an earlier one: a real teacher over HTTP whose requests are counted, and real small students."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from distill import config, store
from distill.cli import main
from distill.example.server import running
from distill.pairs.split import part_of_each
from distill.pipeline import refresh
from distill.pipeline.config import RunConfig
from distill.pipeline.execute import configured
from distill.pipeline.mirror import Mirror
from distill.records import Pair, Trace
from distill.results import as_json
from teacher.journal import Journal
from teacher.requests import Requests
from tests.months import WORLD, Months, answered, metrics, stamps, write_data
from tests.object_storage.conftest import bucket, s3, s3_server  # noqa: F401  (fixtures)
from tests.teacher.http_servers import answering
from tests.test_redact_run import by_the_example


@pytest.fixture(scope="module")
def first_month(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Months]:
    """The first month's run, finished; the data have moved on."""
    folder = tmp_path_factory.mktemp("refresh")
    with running() as url:
        months = Months(folder, url)
        write_data(folder / "data", 26)
        assert months.run(months.first) == 0
        asked = [pair.doc_id for pair in store.read_rows(months.first / "pairs", Pair)]
        write_data(folder / "data", 36, changed=(asked[0], asked[-1]))
        yield months


@pytest.fixture
def months(first_month: Months) -> Iterator[Months]:
    """The same, without a second run."""
    yield first_month
    shutil.rmtree(first_month.second, ignore_errors=True)


@pytest.fixture(scope="module")
def pairs_of(first_month: Months) -> dict[str, set[str]]:
    """The ids of the first month's pairs."""
    return {"first": {pair.pair_id for pair in store.read_rows(first_month.first / "pairs", Pair)}}


def test_only_what_is_new_or_changed_is_asked(
    months: Months, pairs_of: dict[str, set[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    before, untouched = answered(months.url), stamps(months.first)
    assert months.refresh("--dry-run", "--json") == 0
    planned = json.loads(capsys.readouterr().out)
    assert answered(months.url) == before and not months.second.exists()
    status = months.refresh()
    said = capsys.readouterr().err
    pairs = list(store.read_rows(months.second / "pairs", Pair))
    new = {pair.pair_id for pair in pairs} - pairs_of["first"]
    old = {pair.pair_id for pair in pairs} & pairs_of["first"]
    assert len(old) > 20 and len(new) > 5
    assert answered(months.url) - before == len(new) + 1, "one for each new or changed pair, and the preflight"
    trace = metrics(months.second)["stages"]["trace"]
    assert (trace["reused"], trace["asked_now"], trace["samples_due"]) == (len(old), len(new), len(pairs))
    (row,) = [row for row in planned["stages"] if row["stage"] == "trace"]
    assert row["work"] == f"{len(new)} answers, {len(old)} reused from {months.first}" and row["usd"] > 0
    earlier = metrics(months.first)["stages"]["trace"]
    assert trace["cost_usd"] < earlier["cost_usd"] * 1.5 * len(new) / len(pairs_of["first"]), (
        "the old are not billed again"
    )
    assert stamps(months.first) == untouched, "the earlier run is only read"

    # the student goes on from the served one, and both are judged on the same queries
    job = json.loads((months.second / "students" / "direct" / "job.json").read_text())
    assert job["base"] == str(months.first / "students" / "direct")
    found = metrics(months.second)
    assert {"served", "direct"} <= set(found["evaluation"]["test"])
    assert status == refresh.EXIT[found["refresh"]["verdict"]] and f"(exit status {status})" in said
    assert found["refresh"]["served"] == found["evaluation"]["test"]["served"]["nDCG@10"]
    assert "New or served student" in (months.second / "report.html").read_text()

    # what was trained on stays out of the test
    trained = {pair.query for pair in store.read_rows(months.first / "pairs", Pair)}
    tested = set(json.loads((months.second / "evaluation" / "test.json").read_text())["queries"].values())
    tested_before = set(json.loads((months.first / "evaluation" / "test.json").read_text())["queries"].values())
    assert not tested & trained and tested_before < tested

    # a second call asks, trains and judges nothing, and says the same
    before = answered(months.url)
    assert months.refresh() == status and answered(months.url) == before
    assert capsys.readouterr().err.count("unchanged") == 6


KILLED = """
import importlib, os, signal, sys
from distill.cli import main
from distill.pipeline import check
from teacher import earlier
name, number, *words = sys.argv[1:]
check._in_a_process, earlier.BLOCK = (lambda *arguments: None), 5
owner = importlib.import_module(name.partition(":")[0])
*outer, last = name.partition(":")[2].split(".")
for part in outer:
    owner = getattr(owner, part)
call, calls = getattr(owner, last), []
def counted(*arguments, **named):
    calls.append(last)
    if len(calls) == int(number):
        os.kill(os.getpid(), signal.SIGKILL)
    return call(*arguments, **named)
setattr(owner, last, counted)
sys.exit(main(words))
"""
POINTS = [  # (function, at which call of it the process is killed), in the order of the work
    ("distill.store:write_manifest", 1),  # pairs are written, and nothing says so
    ("teacher.earlier:_copy", 2),  # a part of the earlier run's answers is taken over
    ("teacher.session:Session._receive", 1),  # new answers have come, and are not in the journal
    ("sft.processes:read_json", 1),  # a student is trained, and its result not read
    ("distill.pipeline.evaluate:_rows", 2),  # of the systems one is judged
    ("distill.pipeline.refresh:verdict", 1),  # all is measured but the verdict
]


@pytest.mark.slow
def test_a_refresh_killed_at_any_point_ends_as_one_that_was_not_which_ran_between_urls(
    months: Months,
    bucket: str,  # noqa: F811
    s3: Any,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    as_if_made_at(f"{bucket}/first", months.first, s3)
    with answering(by_the_example()) as (url, received):
        endpoint = json.loads(months.config.read_text())["teacher"]["endpoints"][0] | {"base_url": url}
        words = ["run", str(months.config), f"teacher.endpoints=[{json.dumps(endpoint)}]"]
        status = main([*words, "--out", f"{bucket}/second", "--since", f"{bucket}/first"])
        assert status in refresh.EXIT.values() and f"taken up from {bucket}/first: " in capsys.readouterr().err
        whole = len(received)
        words += ["--out", str(months.second), "--since", str(months.first)]
        requests = Requests(config.load(RunConfig, months.config, words[2:3]).teacher)
        for point in (*POINTS, ("distill.cli.finish:finish", 0)):
            known, begun = in_journal(months.second), len(received)
            command = [sys.executable, "-c", KILLED, point[0], str(point[1]), *words]
            with open(tmp_path / "said.txt", "w+") as said:  # a pipe would be held open by what outlives the killed one
                ended = subprocess.run(command, stdout=said, stderr=said, check=False, timeout=280).returncode
                said.seek(0)
                assert ended == (-signal.SIGKILL if point[1] else status), (point, said.read()[-2000:])
            asked = [requests(body["messages"][-1]["content"]).request_id for body in received[begun:]]
            assert not known & set(asked), f"after {point}: what the journal holds is asked again"
    assert 2 * whole <= len(received) <= 2 * whole + 5 * len(POINTS), "what was in flight, and a look at the endpoint"
    remote, there = Mirror(f"{bucket}/second", print).folder, months.second
    for one, other in zip(*(store.read_rows(folder / "traces", Trace) for folder in (remote, there)), strict=True):
        assert (one.pair_id, one.reasoning, one.verdict) == (other.pair_id, other.reasoning, other.verdict)
    found, expected = (metrics(folder) for folder in (there, remote))
    for system in (*found["evaluation"]["test"].values(), *expected["evaluation"]["test"].values()):
        system.pop("pairs_per_s", None)
    assert found["evaluation"] == expected["evaluation"]
    assert found["refresh"]["verdict"] == expected["refresh"]["verdict"]
    assert found["stages"]["trace"]["reused"] == expected["stages"]["trace"]["reused"] > 20


def as_if_made_at(url: str, run: Path, s3: Any) -> None:  # noqa: F811
    """Put a run of this machine at a URL, as `--out` leaves it there."""
    mirror = Mirror(url, print)
    shutil.copytree(run, mirror.folder)
    path = mirror.folder / "config.yaml"
    settings = yaml.safe_load(path.read_text())
    settings["teacher"]["journal"] = f"{url}/traces/journal"
    path.write_text(yaml.safe_dump(settings))
    with mirror.held():
        s3.put(f"{run}/traces/journal/", f"{url}/traces/journal/", recursive=True)
    shutil.rmtree(mirror.folder)


def in_journal(run: Path) -> set[str]:
    """The ids of the requests whose answers the run's journal holds."""
    if not (run / "traces" / "journal").exists():
        return set()
    with closing(Journal(run / "traces" / "journal", run, writes=False)) as journal:
        return {entry.answer.request_id for part in journal.parts for _, entry in journal.entries(part)}


def test_the_verdict_follows_the_measures(months: Months) -> None:
    assert months.refresh() in refresh.EXIT.values()
    run = configured(months.config, (f"refresh.since={months.first}",), months.second)
    path = months.second / "evaluation" / "test.json"
    detail = json.loads(path.read_text())
    values = detail["per_query"]
    for served, new, wanted in ((0.2, 0.9, "promote"), (0.9, 0.2, "keep"), (0.5, 0.5, "unsure")):
        for system, value in (("served", served), ("direct", new)):
            values[system]["nDCG@10"] = dict.fromkeys(values[system]["nDCG@10"], value)
        path.write_text(json.dumps(detail))
        result = refresh.verdict(run)
        assert result is not None and result.verdict == wanted
        assert result.difference == pytest.approx(new - served)
        stored = metrics(months.second) | {"refresh": as_json(result)}
        (months.second / "metrics.json").write_text(json.dumps(stored))
        from distill.cli.finish import finish

        assert finish(run) == {"promote": 0, "keep": 10, "unsure": 11}[wanted]


def test_students_may_begin_afresh(months: Months) -> None:
    before = answered(months.url)
    assert months.refresh("refresh.students=afresh", "sft.scratch.layers=2") in refresh.EXIT.values()
    job = json.loads((months.second / "students" / "direct" / "job.json").read_text())
    assert job["base"] == str(months.second / "students" / "untrained")
    assert answered(months.url) - before < 40, "answers are reused all the same"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("prompt=delimited", "prompt: is 'delimited', and 'rank1' in"),
        ("sft.scratch.layers=2", "sft.scratch: is"),
        ("sft.targets=[think]", "refresh.served: 'direct' of"),
        ("refresh.served=think", "has no system 'think', but direct"),
        ("evaluation.sets=[]", "evaluation.sets: is empty"),
        ("ablate={seed: [0, 1]}", "leave ablate out"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_asked(
    months: Months, capsys: pytest.CaptureFixture[str], override: str, words: str
) -> None:
    before = answered(months.url)
    assert months.refresh(override) == 2
    assert words in capsys.readouterr().err and answered(months.url) == before
    assert not (months.second / "traces").exists()


def test_a_wrong_earlier_run_is_refused(months: Months, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert months.run(months.second, "--since", str(tmp_path)) == 2
    assert "is no run folder" in capsys.readouterr().err
    assert months.run(months.first, "--since", str(months.first)) == 2
    assert "is this run's own folder" in capsys.readouterr().err
    unfinished = tmp_path / "unfinished"
    shutil.copytree(months.first, unfinished)
    (unfinished / "students" / "manifest.json").unlink()
    assert months.run(months.second, "--since", str(unfinished)) == 2
    assert "has no evaluated students" in capsys.readouterr().err


def test_a_test_of_queries_that_were_trained_on_is_refused(months: Months, capsys: pytest.CaptureFixture[str]) -> None:
    before = answered(months.url)
    trained = {pair.query_id: pair.query for pair in store.read_rows(months.first / "pairs", Pair)}
    query_id, query = next(iter(trained.items()))
    shutil.copytree(months.folder / "data", months.folder / "other", dirs_exist_ok=True)
    labels = [(query_id, doc, label) for doc, label in WORLD.qrels[query_id].items()]
    rows = "".join(f"{q}\t{d}\t{label}\n" for q, d, label in labels)
    (months.folder / "other" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + rows)
    sets = "evaluation.sets=[{name: other, source: beir, path: other, split: test}]"
    assert months.refresh(sets) == 2
    said = capsys.readouterr().err
    assert "evaluation.sets, other: 1 query of 1 were trained on" in said and query in said
    assert answered(months.url) == before, "nothing is asked for a comparison that says nothing"


def test_the_guides_settings_are_taken(months: Months) -> None:
    guide = (Path(__file__).parents[1] / "docs" / "refresh.md").read_text("utf-8")
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", guide, re.M | re.S)
    raw = json.loads(months.config.read_text()) | yaml.safe_load(text)
    settings = config.validate(RunConfig, raw, months.config)
    assert settings.refresh is not None and settings.refresh.since == str(months.folder / "runs" / "2026-11")
    for verdict, status in refresh.EXIT.items():
        assert re.search(rf"^\| {verdict} \|.* \| {status} \|$", guide, re.M)


def test_known_queries_stay_in_their_part_and_new_ones_are_drawn() -> None:
    old = {f"q{n}": f"where is house {n}" for n in range(40)}
    shares = {"train": 0.7, "test": 0.3}
    parts = part_of_each(old, shares, 0)
    known = {old[query]: part for query, part in parts.items()}
    new = {**{f"a{n}": f"what costs boat {n}" for n in range(60)}, **old}
    again = part_of_each(new, shares, 0, known=known)
    assert {query: again[query] for query in old} == parts
    drawn = [again[query] for query in new if query not in old]
    assert (drawn.count("train"), drawn.count("test")) == (42, 18)
    assert {query: part_of_each(new, shares, 0)[query] for query in old} != parts, "without them the draw is another"
    # a new query of the same words is in the part of the old one, and train wins
    same = {"x": "House 3, where is it?", **old}
    assert part_of_each(same, shares, 0, known={old["q3"]: "test"})["x"] == "test"
