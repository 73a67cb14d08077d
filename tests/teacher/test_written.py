"""`teacher.elicit: written`: explanation first and verdict last, for teachers that do not think by themselves."""

from __future__ import annotations

import itertools
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from distill.errors import EndpointError, Stopped
from distill.prompts import PROMPTS, elicit_hash, teacher_prompt
from distill.records import Answer, Trace, make_pair, make_request
from distill.store import read_rows
from distill.verdicts import parse_verdict
from distill.written import as_traced, split_written
from teacher.settings import TeacherSettings
from teacher.stage import trace
from tests.teacher.helpers import Server, make_pairs, settings_for
from tests.teacher.http_servers import Reply, answering, completion

SERVER = Server("http://127.0.0.1:9/v1")
FOX = "The query asks for a fox. The passage is about a dog."

# (answer, explanation, verdict)
ANSWERS = [
    (f"{FOX}\n\nVerdict: false", FOX, 0),
    (f"**Explanation:** {FOX}\n\n**Verdict:** false", FOX, 0),
    (f"Explanation:\n{FOX}\nVerdict:\ntrue", FOX, 1),
    (f"{FOX} Verdict: 'false'.", FOX, 0),
    (f"[Reason]: {FOX}\n\n[Guess]: No.\n\n[Confidence]: 0.9.", FOX, 0),
    (f"{FOX}\n\n### Final answer: **True**", FOX, 1),
    (f"{FOX}\n\nTherefore, my verdict: not relevant", FOX, 0),
    (f"{FOX} The passage is not relevant to the query.", FOX, 0),
    (f"{FOX}\n\nfalse", FOX, 0),
    (f"The label: foxes. {FOX}\nVerdict: false", f"The label: foxes. {FOX}", 0),
    (f"Verdict: true\n\n{FOX}", "", 1),  # the verdict came first: what follows did not lead to it
    (f"{FOX}\nVerdict: true\nVerdict: false", FOX, None),
    ("true", "", 1),
    (FOX, "", None),
    (f"{FOX} Verdict: 'true' if the passage is relevant, 'false' if it is not.", "", None),
    ("", "", None),
]


@pytest.mark.parametrize(("text", "explanation", "verdict"), ANSWERS)
def test_an_answer_is_split_before_its_verdict(text: str, explanation: str, verdict: int | None) -> None:
    reasoning, content = split_written(text)
    assert (reasoning, parse_verdict(content)) == (explanation, verdict)
    assert content in text and reasoning in text, "nothing is written that the teacher has not"


def test_a_grade_is_split_off_alike() -> None:
    assert split_written(f"{FOX}\nVerdict: three", "graded_4") == (FOX, "Verdict: three")
    assert split_written(f"{FOX}\nVerdict: nine", "graded_4")[0] == "", "beyond the scale, so no verdict"


def test_what_the_model_thought_comes_before_what_it_wrote() -> None:
    answer = as_traced(Answer("r", "Thought.", f"{FOX}\nVerdict: true"), "written")
    assert (answer.reasoning, answer.content) == (f"Thought.\n\n{FOX}", "Verdict: true")
    assert as_traced(answer, "native") is answer


@pytest.mark.parametrize("name", PROMPTS)
def test_the_prompt_asks_for_the_explanation_first_and_keeps_texts_as_data(name: str) -> None:
    asked = teacher_prompt("<|im_end|>q", "p</think>", "i", name, "written")
    assert asked.startswith(PROMPTS[name].question) and "Answer only" not in asked
    assert asked.index("explain") < asked.index("Verdict:") and asked.index("p<") < asked.index("First explain")
    assert "<|im_end|>" not in asked and "</think>" not in asked
    assert elicit_hash(name, "written") != elicit_hash(name, "native")


def test_native_requests_keep_their_identity_and_written_ones_have_their_own() -> None:
    native, written = settings_for(SERVER), settings_for(SERVER, elicit="written")
    assert "elicit" not in native.identity()
    assert written.identity() == {**native.identity(), "elicit": {"written": elicit_hash("rank1", "written")}}
    ids = [
        make_request("t", [{"role": "user", "content": teacher_prompt("q", "p", None, "rank1", kind)}], {}).request_id
        for kind in ("native", "written")
    ]
    assert ids[0] == "bc29531a885db4838607918e22c3c722", "a journal of before this setting stays valid"
    assert ids[0] != ids[1]


def test_a_written_answer_becomes_a_trace_and_is_not_bought_again(ray_here: None, tmp_path: Path) -> None:
    pairs = make_pairs(30)

    def respond(body: dict[str, Any]) -> Any:
        relevant = "passage 7 " not in body["messages"][0]["content"]
        return completion(f"It says so.\n\nVerdict: {str(relevant).lower()}", reasoning="")

    with answering(respond) as (url, received):
        counts = trace(pairs, settings_for(Server(url), elicit="written"), tmp_path, quiet=True)
        again = trace(pairs, settings_for(Server(url), elicit="written"), tmp_path, quiet=True)
    rows = {row.pair_id: row for row in read_rows(tmp_path, Trace)}
    assert (counts["answered"], again["asked_now"], again["answered"]) == (30, 0, 30)
    assert {row.reasoning for row in rows.values()} == {"It says so."}
    assert [rows[pair.pair_id].verdict for pair in pairs] == [int(pair.doc_id != "d7") for pair in pairs]
    assert "explain" in received[-1]["messages"][0]["content"]
    said = json.loads(next(iter(rows.values())).teacher)
    assert said["prompt"] == "rank1" and said["elicit"] == {"written": elicit_hash("rank1", "written")}


def test_in_doubt_is_judged_by_the_written_verdict(ray_here: None, tmp_path: Path) -> None:
    pairs = make_pairs(6)
    with answering(lambda _: completion("Not relevant in parts, but it answers.\nVerdict: true", "")) as (url, _):
        settings = settings_for(Server(url), elicit="written", samples={"first": 1, "then": 2})
        counts = trace(pairs, settings, tmp_path, quiet=True)
    assert counts["samples_due"] == 6, "each agrees with its label, so no more samples are bought"


def test_a_native_teacher_without_reasoning_is_refused_and_the_remedy_helps(ray_here: None, tmp_path: Path) -> None:
    bare = completion("true", "")
    with answering(lambda _: bare) as (url, _), pytest.raises(EndpointError, match="set teacher.elicit: written"):
        trace(make_pairs(200), settings_for(Server(url), concurrency=4), tmp_path, quiet=True)


def test_answers_in_flight_that_explain_after_all_let_the_run_go_on(ray_here: None, tmp_path: Path) -> None:
    """The first fifty explain nothing, which ends a run; what was in flight then shows that the teacher can."""
    lock, numbers = threading.Lock(), itertools.count()

    def respond(_: dict[str, Any]) -> Reply:
        with lock:
            number = next(numbers)
        if number <= 50:  # the preflight first
            return completion("Verdict: true", "")
        if number < 54:
            time.sleep(1.5)
        return completion("It says so.\nVerdict: true", "")

    with answering(respond) as (url, _):
        settings = settings_for(Server(url), elicit="written", concurrency=4, deadline_s=10)
        counts = trace(make_pairs(70), settings, tmp_path, quiet=True)
    assert counts["answered"] == 70 and counts["asked_now"] == 70


def test_a_teacher_that_explains_nothing_though_asked_stops_the_run(ray_here: None, tmp_path: Path) -> None:
    with answering(lambda _: completion("Verdict: true", "")) as (url, _):
        settings = settings_for(Server(url), elicit="written", concurrency=4)
        with pytest.raises(
            Stopped, match=r"none of the first 5\d answers explains .*set teacher.require_reasoning: false"
        ):
            trace(make_pairs(90), settings, tmp_path, quiet=True)
        more = settings.model_copy(update={"require_reasoning": False})
        assert trace(make_pairs(90), more, tmp_path, quiet=True)["answered"] == 90


def test_published_answers_of_gpt_4_are_imported_whole(shared: Path, tmp_path: Path) -> None:
    """1,470 answers of GPT-4, as [Reason]: … [Guess]: … [Confidence]: …; the converted columns are the key."""
    path = shared / "traces" / "diras_generalqa_gpt4_traces.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    split = [split_written(row["raw_output"]) for row in rows]
    assert [reasoning for reasoning, _ in split] == [row["reasoning"].strip() for row in rows]
    assert [parse_verdict(content) for _, content in split] == [int(row["verdict"] == "yes") for row in rows]
    pairs = sorted(
        {p.pair_id: p for p in (make_pair(r["id"], r["id"], r["query"], r["passage"]) for r in rows)}.values(),
        key=lambda pair: pair.pair_id,
    )
    columns = {"completion": "raw_output"}
    given = {"source": "import", "import": {"path": str(path), "columns": columns}, "elicit": "written"}
    counts = trace(pairs, TeacherSettings.model_validate(given), tmp_path, quiet=True)
    traces = [row for row in read_rows(tmp_path, Trace) if not row.error]
    assert counts["import_matched"] == len(traces) == len(pairs)
    assert all(row.reasoning and row.verdict is not None for row in traces)


def test_six_small_models_answers_are_read_as_they_were_converted(shared: Path) -> None:
    path = shared / "traces" / "diras_chatreport_traces.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    split = [split_written(row["raw_output"]) for row in rows]
    verdicts = [parse_verdict(content) for _, content in split]
    truth = [{"yes": 1, "no": 0}.get(row["verdict"]) for row in rows]
    assert not [row["id"] for row, v, t in zip(rows, verdicts, truth, strict=True) if v is not None and v != t]
    assert sum(verdict is not None for verdict in verdicts) >= 3_940, "of 3,960, of which six hold none"
