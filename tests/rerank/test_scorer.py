"""The scorer: nothing is judged twice, and a process or node that is lost costs what it held."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from distill.cli import main
from distill.errors import RunFolderError, Stopped
from distill.files.runs import read_run
from distill.records import Pair, make_pair
from distill.rerank import files
from distill.rerank.calibration import Calibration, Curve, write
from distill.rerank.jobs import Student, job_of, weights_by_hash
from distill.rerank.journal import Journal
from distill.rerank.modes import Window
from distill.rerank.progress import Progress
from distill.rerank.reranker import Reranker
from distill.rerank.scorer import CHUNK, Scorer
from distill.rerank.settings import ScoringSettings
from distill.store import file_hash
from tests.teacher.test_cluster import Cluster

THINK = ("--mode", "think", "--max-new-tokens", "24", "--actors", "2", "--batch", "4")
HELD = 2 * 4 + 2 * CHUNK  # the pairs that a worker has at most: what its engine takes, and those to come
# A backend that writes down each pair that it has judged, where all processes can see it.
COUNTING = """
import os
from distill.rerank.backends.transformers import TransformersBackend


class Counting(TransformersBackend):
    name = "counting"

    def step(self):
        done = super().step()
        with open(os.environ["COUNTED"], "a") as out:
            for task, result in done:
                if result.logprobs is not None:  # else its verdict is read by a second task
                    out.write(task.pair.pair_id + "\\n")
        return done
"""


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which the backend counting.py:Counting, in the working folder, counts what it has judged."""
    (tmp_path / "counting.py").write_text(COUNTING)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COUNTED", str(tmp_path / "counted.txt"))
    (tmp_path / "counted.txt").touch()
    return tmp_path / "counted.txt"


def some(count: int) -> list[Pair]:
    return [make_pair(f"q{n % 7}", f"d{n}", f"red fox {n % 7}", f"dog {n} " * (n % 9 + 1)) for n in range(count)]


def student(tiny: Path, mode: str = "direct", **scoring: Any) -> Student:
    return Student(str(tiny), mode, ScoringSettings(backend="counting.py:Counting", **scoring), max_new_tokens=8)


def judged(path: Path, *jobs: Any, notify: Callable[[Progress], None] = lambda _: None) -> list[list[Any]]:
    with Scorer(Journal(path), notify) as scorer:
        found = {made.name: made.judgements for made in scorer.score(jobs)}
    return [found[job.name] for job in jobs]


def test_what_is_judged_is_not_judged_again(tiny: Path, counted: Path, tmp_path: Path) -> None:
    pairs = some(40)
    first = judged(tmp_path / "j", job_of("first", student(tiny), pairs[:25]))
    again = judged(tmp_path / "j", job_of("all", student(tiny), pairs), job_of("same", student(tiny), pairs[::-1]))
    assert Counter(counted.read_text().split()) == Counter(pair.pair_id for pair in pairs)
    assert again[0][:25] == first[0] and again[1] == again[0][::-1]


def test_a_text_under_two_ids_is_judged_once(tiny: Path, counted: Path, tmp_path: Path) -> None:
    pairs = [make_pair("q", "a", "fox", "dog"), make_pair("q", "b", "fox", "dog")]
    (found,) = judged(tmp_path / "j", job_of("one", student(tiny), pairs))
    assert len(counted.read_text().split()) == 1
    assert [row.doc_id for row in found] == ["a", "b"] and found[0].margin == found[1].margin


def test_what_changes_the_answer_is_another_judgement(tiny: Path, counted: Path, tmp_path: Path) -> None:
    """And what does not, such as a bound on reasoning where none is written, is not."""
    pairs = some(3)
    of = lambda **more: Student(str(tiny), more.pop("mode", "direct"), student(tiny).scoring, **more)  # noqa: E731
    judged(tmp_path / "j", job_of("one", of(), pairs))
    judged(tmp_path / "j", job_of("bound", of(max_new_tokens=5), pairs), job_of("seed", of(seed=3), pairs))
    assert len(counted.read_text().split()) == 3
    different = [of(mode="budget:4"), of(mode="budget:5"), of(mode="think", max_new_tokens=4), of(long="split")]
    different.append(of(mode="think", max_new_tokens=4, samples=2))
    identities = {job_of("x", each, pairs).identity for each in different}
    assert len(identities) == 5 and job_of("x", of(), pairs).identity not in identities


def test_a_student_is_known_by_its_files_and_not_by_its_folder(tiny: Path, tmp_path: Path) -> None:
    import shutil

    def weights(folder: Path) -> Any:
        return weights_by_hash(str(folder), {str(path): file_hash(path) for path in folder.iterdir()})

    copy = shutil.copytree(tiny, tmp_path / "copy")
    (copy / "calibration.json").write_text("{}")
    assert weights(copy) == weights(tiny)
    (copy / "model.safetensors").write_bytes((copy / "model.safetensors").read_bytes()[:-1] + b"\1")
    assert weights(copy) != weights(tiny)


def test_a_torn_line_is_passed_over_and_the_next_is_whole(tiny: Path, counted: Path, tmp_path: Path) -> None:
    pairs, journal = some(10), tmp_path / "j"
    judged(journal, job_of("one", student(tiny), pairs))
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-20])
    counted.write_text("")
    judged(journal, job_of("one", student(tiny), pairs))
    assert len(counted.read_text().split()) == 1
    assert sum(1 for line in journal.read_text().splitlines() if _whole(line)) == 10
    counted.write_text("")
    judged(journal, job_of("one", student(tiny), pairs))
    assert not counted.read_text()


def _whole(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def test_a_journal_is_for_one_process(tmp_path: Path) -> None:
    first = Journal(tmp_path / "j", "head")
    first.append("s", "p", "too long")
    with pytest.raises(RunFolderError, match="in use by another process"):
        Journal(tmp_path / "j", "head")
    first.close()
    Journal(tmp_path / "j", "head").close()


def test_adaptive_is_direct_and_think_and_judges_again_only_what_is_lost(
    tiny: Path, counted: Path, tmp_path: Path
) -> None:
    """Its answers are those of the two modes, whichever was judged first."""
    pairs, journal = some(14), tmp_path / "j"
    asked = {mode: student(tiny, mode) for mode in ("direct", "think", "adaptive")}
    (alone,) = judged(tmp_path / "alone", job_of("alone", asked["adaptive"], pairs))
    thought = [row.mode == "adaptive.think" for row in alone]
    assert sum(thought) > 0
    assert len(counted.read_text().split()) == 14 + sum(thought)
    counted.write_text("")
    direct, think = judged(journal, *(job_of(mode, asked[mode], pairs) for mode in ("direct", "think")))
    assert len(counted.read_text().split()) == 28
    (again,) = judged(journal, job_of("after", asked["adaptive"], pairs))
    assert len(counted.read_text().split()) == 28, "nothing was judged for adaptive"
    for row, first, second, is_thought in zip(again, direct, think, thought, strict=True):
        of = second if is_thought else first
        assert row.margin == of.margin and row.reasoning == of.reasoning
        assert row.tokens == first.tokens + second.tokens * is_thought
    counted.write_text("")
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:-1]))
    (last,) = judged(journal, job_of("lost", asked["adaptive"], pairs))
    assert len(counted.read_text().split()) <= 1 and last == again


def test_adaptive_answers_as_the_reranker_does(tiny: Path, tmp_path: Path) -> None:
    """With and without a calibration, which changes scores and margins but no judgement in the journal."""
    pairs = some(14)
    curves = {f"adaptive.{mode}": Curve("platt", a, b) for mode, a, b in (("direct", 0.5, 0.1), ("think", 2.0, -0.3))}
    write(tmp_path / "calibration.json", Calibration(curves, window=Window(-math.inf, math.inf, 1)))
    for calibration in (None, str(tmp_path / "calibration.json")):
        one = Student(str(tiny), "adaptive", ScoringSettings(dtype="float32"), 8, calibration=calibration)
        (found,) = judged(tmp_path / "j", job_of("one", one, pairs))
        expected = Reranker(
            str(tiny), "adaptive", "transformers", max_new_tokens=8, calibration=calibration, dtype="float32"
        ).predict(pairs)
        assert [row.mode for row in found] == [row.mode for row in expected]
        assert calibration is None or {row.mode for row in found} == {"adaptive.direct", "adaptive.think"}
        for row, other in zip(found, expected, strict=True):
            assert (row.margin, row.score) == pytest.approx((other.margin, other.score), abs=1e-4)
            assert (row.reasoning, row.tokens, row.verdict) == (other.reasoning, other.tokens, other.verdict)


def test_a_worker_that_is_killed_costs_what_it_held(tiny: Path, counted: Path, tmp_path: Path) -> None:
    pairs, killed = some(600), []

    def kill(progress: Progress) -> None:
        if not killed and 0 < progress.done < progress.of:
            import multiprocessing

            killed.append(multiprocessing.active_children()[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    (found,) = judged(tmp_path / "j", job_of("one", student(tiny, "think", actors=2), pairs), notify=kill)
    assert killed and None not in found and len(found) == 600
    lines = [json.loads(line)["pair_id"] for line in (tmp_path / "j").read_text().splitlines()]
    assert sorted(lines) == sorted(pair.pair_id for pair in pairs), "each is in the journal once"


def test_workers_that_all_die_end_the_run_with_work_left(tiny: Path, tmp_path: Path, counted: Path) -> None:
    (tmp_path / "counting.py").write_text(COUNTING.replace("done = super().step()", "os._exit(1)"))
    with pytest.raises(Stopped, match="its workers die one after another"):
        judged(tmp_path / "j", job_of("one", student(tiny, actors=1), some(3)))


def test_progress_comes_with_the_first_batch(tiny: Path, counted: Path, tmp_path: Path) -> None:
    shown: list[str] = []
    judged(tmp_path / "j", job_of("one", student(tiny, batch=8), some(200)), notify=lambda p: shown.append(p.text()))
    assert len(shown) >= 2 and "/200 pairs" in shown[0] and "tokens/s" in shown[0] and "s left" in shown[0]
    assert shown[-1].startswith("[####################] 200/200 pairs")


# --- distill rerank --------------------------------------------------------------------------------------------------


def rerank(tiny: Path, folder: Path, queries: int, depth: int, *more: str) -> list[str]:
    """The command over files that it writes."""
    rows = [json.dumps({"_id": f"q{q:03}", "text": f"red fox {q}"}) for q in range(queries)]
    (folder / "queries.jsonl").write_text("\n".join(rows))
    rows = [json.dumps({"_id": f"d{d:03}", "text": f"a lazy dog {d} sleeps " * (d % 3 + 1)}) for d in range(depth)]
    (folder / "corpus.jsonl").write_text("\n".join(rows))
    lines = [f"q{q:03} Q0 d{d:03} {d + 1} {-d} x\n" for q in range(queries) for d in range(depth)]
    (folder / "in.trec").write_text("".join(lines))
    named = {"queries": "queries.jsonl", "corpus": "corpus.jsonl", "run": "in.trec", "out": "out.trec"}
    given = [word for name, file in named.items() for word in (f"--{name}", str(folder / file))]
    return ["rerank", "--model", str(tiny), "--mode", "direct", "--backend", "counting.py:Counting", *given, *more]


def test_blocks_give_what_one_block_gives(
    tiny: Path, counted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(rerank(tiny, tmp_path, 9, 4)) == 0
    whole = read_run(tmp_path / "out.trec")
    (tmp_path / "blocks").mkdir()
    monkeypatch.setattr(files, "BLOCK", 10)
    assert main(rerank(tiny, tmp_path / "blocks", 9, 4)) == 0
    blocks = read_run(tmp_path / "blocks" / "out.trec")
    assert blocks.keys() == whole.keys()
    for query, scores in whole.items():  # a batch of other texts rounds otherwise, on some processors
        assert blocks[query] == pytest.approx(scores, abs=1e-4)
    assert not list((tmp_path / "blocks").glob("out.trec.journal*"))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_25_kills_lose_no_judgement_and_repeat_only_what_was_in_flight(
    tiny: Path, counted: Path, tmp_path: Path
) -> None:
    """Any process of the command, at any moment; what the backend has counted decides.

    What the journal holds at a kill is never judged again; so whatever is judged twice was in flight.
    """
    import psutil

    command = [sys.executable, "-m", "distill.cli", *rerank(tiny, tmp_path, 40, 100, *THINK)]
    rng, kills = random.Random(16), 0
    next_kill = rng.randint(1, 30)  # of what the backend has judged
    kept: list[Counter[str]] = []  # at each kill, how often each pair of the journal had been judged
    while kills < 25:
        with open(tmp_path / "said.txt", "ab") as said:
            process = subprocess.Popen(command, stderr=said, stdout=said)
        while process.poll() is None and kills < 25:
            if _lines(counted) < next_kill:
                time.sleep(0.02)
                continue
            time.sleep(rng.random() * 0.3)  # judgements come in bursts: at any moment, not only right after one
            try:
                rng.choice([psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]).kill()
            except psutil.NoSuchProcess:
                continue
            kills, next_kill = kills + 1, _lines(counted) + rng.randint(1, 30)
            journal = tmp_path / "out.trec.journal"
            lines = journal.read_text().splitlines() if journal.exists() else []  # the first kill may come before it
            names = {json.loads(line).get("pair_id") for line in lines if _whole(line)}
            times = Counter(counted.read_text().split())
            kept.append(Counter({name: times[name] for name in names if name}))
        assert process.poll() != 0, "not done before the last kill"
        process.kill()
        process.wait()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    times = Counter(counted.read_text().split())
    assert len(times) == 4000 and _lines(tmp_path / "out.trec") == 4000 and kept[-1].total() > 50
    assert all(times[name] == before for each in kept for name, before in each.items())


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n")


# --- Ray -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def cluster(tmp_path: Path, counted: Path) -> Iterator[Cluster]:
    """A cluster of one node; ended after the test."""
    made = Cluster(tmp_path)
    yield made
    made.close()


@pytest.mark.slow
def test_a_node_lost_on_the_way_costs_no_pair(tiny: Path, counted: Path, tmp_path: Path, cluster: Cluster) -> None:
    second = cluster.join()
    command = rerank(
        tiny, tmp_path, 60, 50, "--mode", "think", "--max-new-tokens", "24", "--actors", "2", "--batch", "4"
    )
    with open(tmp_path / "said.txt", "wb") as said:
        driver = subprocess.Popen(
            [sys.executable, "-m", "distill.cli", *command], env=cluster.environment, stderr=said, stdout=said
        )
        while len(counted.read_text().split()) < 400 and driver.poll() is None:
            time.sleep(0.1)
        assert driver.poll() is None, (tmp_path / "said.txt").read_text()[-2000:]
        cluster.end(second)
        assert driver.wait(timeout=300) == 0, (tmp_path / "said.txt").read_text()[-2000:]
    times = Counter(counted.read_text().split())
    assert len(times) == 3000 and _lines(tmp_path / "out.trec") == 3000
    assert sum(times.values()) - 3000 <= HELD, "only what the lost actor held"
