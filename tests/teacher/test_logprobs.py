"""The probability of the verdict: found at the word that the parser reads, whatever the server's form."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from distill.answers import JsonObject
from distill.answers.body import read_completion
from distill.prompts import teacher_prompt
from distill.records import Answer, JournalEntry, Trace
from distill.store import fingerprint, read_rows
from distill.verdict_probability import p_relevant
from distill.written import as_traced
from teacher.journal import decode, encode
from teacher.requests import Requests
from teacher.settings import TeacherSettings
from teacher.stage import trace
from tests.teacher.helpers import make_pairs
from tests.teacher.http_servers import answering

SURE = {" true": -0.1, " false": -2.4}
HERE = {"base_url": "http://127.0.0.1:1/v1", "model": "m"}


def tokens(*written: str | tuple[str, dict[str, float]], spelt: bool = True) -> list[JsonObject]:
    """Entries of `logprobs.content`: a token alone is certain, one with a dictionary has these likeliest tokens."""
    entries = []
    for each in written:
        token, top = each if isinstance(each, tuple) else (each, {each: -0.0001})
        entry: dict[str, Any] = {"token": token, "logprob": top.get(token, -3.0)}
        entry["top_logprobs"] = [{"token": other, "logprob": value} for other, value in top.items()]
        entries.append(entry | ({"bytes": list(token.encode())} if spelt else {}))
    return entries


def body(content: str, logprobs: object, **message: Any) -> bytes:
    """A chat completion."""
    choice = {"message": {"content": content, **message}, "finish_reason": "stop", "logprobs": logprobs}
    return json.dumps({"choices": [choice]}).encode()


def read(raw: bytes, prompt: str = "rank1", elicit: Any = "native") -> float | None:
    """The probability that a trace has of a response, after its way through the journal."""
    completion = read_completion(raw)
    entry = JournalEntry(Answer("r", completion.reasoning, completion.content, words=completion.words))
    kept = decode(encode(entry))
    assert kept == entry
    answer = as_traced(kept.answer, elicit, prompt)
    return p_relevant(answer.content, answer.words or (), prompt)


def share(true: float, false: float) -> float:
    return math.exp(true) / (math.exp(true) + math.exp(false))


THOUGHT = ["<think>", "It", " is", (" true", {" true": -5.0, " false": -0.01}), ".", "</think>"]
BINARY: list[tuple[str, Sequence[Any], float | None]] = [
    ("true", [("true", {"true": -0.1, "false": -2.4})], share(-0.1, -2.4)),
    ("false", [("false", {"true": -2.4, "false": -0.1})], share(-2.4, -0.1)),
    ("True.", [("True", {"True": -0.5, "true": -1.5, " False": -2.4, "The": -3}), "."],
     (math.exp(-0.5) + math.exp(-1.5)) / (math.exp(-0.5) + math.exp(-1.5) + math.exp(-2.4))),
    # drawn against the odds: what the teacher was asked counts, not what it happened to draw
    ("true", [("true", {"true": -2.4, "false": -0.1})], share(-2.4, -0.1)),
    # reasoning in the text, whose own "true" is no verdict
    ("<think>It is true.</think> true", [*THOUGHT, (" true", SURE), "<|im_end|>"], share(-0.1, -2.4)),
    # a quotation before the verdict, a form that is repeated, and a key that is none
    ("It is true that ferries leave, but not when.\nVerdict: false",
     ["It", " is", (" true", {" true": -0.01}), " that ferries leave, but not when.\n", "Verdict:",
      (" false", {" true": -3.0, " false": -0.2})], share(-3.0, -0.2)),
    ('{"relevant": true}',
     ['{"', ("relevant", {"relevant": -0.001}), '": ', ("true", {"true": -0.1, "false": -2.4}), "}"],
     share(-0.1, -2.4)),
    # other words for it, and one of several tokens
    ("Yes.", [("Yes", {"Yes": -0.3, "No": -1.5}), "."], share(-0.3, -1.5)),
    ("Not relevant.", [("Not", {"Not": -0.2, "Relevant": -1.9, "Ir": -3.0}), " relevant", "."],
     math.exp(-1.9) / (math.exp(-1.9) + math.exp(-0.2) + math.exp(-3.0))),
    ("false", [("fal", {"fal": -0.2, "tr": -1.8}), "se"], share(-1.8, -0.2)),
    # the other word is absent: it gets what the least likely has, or what is left, where that is less
    ("true", [("true", {"true": -0.5, "The": -1.5, "A": -4.0})], share(-0.5, -4.0)),
    ("true", [("true", {"true": math.log(0.999), "The": math.log(0.0009)})], 0.999 / (0.999 + 0.0001)),
    ("true", [("true", {})], None),
]  # fmt: skip


@pytest.mark.parametrize(("content", "written", "expected"), BINARY)
def test_the_probability_is_read_at_the_verdict(content: str, written: Sequence[Any], expected: float | None) -> None:
    found = read(body(content, {"content": tokens(*written)}))
    if not expected:
        assert found == pytest.approx(math.exp(-3.0))  # only the token itself is known: the other has what is left
    else:
        assert found == pytest.approx(expected, abs=1e-4)


def test_reasoning_in_a_field_may_or_may_not_be_among_the_tokens() -> None:
    written = tokens("So", (" true", {" true": -5.0}), "\n", ("true", {"true": -0.1, "false": -2.4}))
    for some in (written, written[3:]):
        raw = body("true", {"content": some}, reasoning_content="So true")
        assert read(raw) == pytest.approx(share(-0.1, -2.4), abs=1e-4)


def test_a_written_answer_has_its_verdict_last() -> None:
    explained = "It gives the time, so it is true to the query.\n"
    written = [("It gives the time, so it is"), (" true", {" true": -9.0}), " to the query.\n", "**Verdict:"]
    for end in (["** ", ("true", {"true": -0.1, "false": -2.4})], [(" true", SURE), "**"]):
        content = explained + "**Verdict:" + "".join(part if isinstance(part, str) else part[0] for part in end)
        raw = body(content, {"content": tokens(*written, *end)})
        assert read(raw, elicit="written") == pytest.approx(share(-0.1, -2.4), abs=1e-4)


def test_of_grades_the_relevant_ones_count() -> None:
    top = {" three": -0.7, " two": -1.2, " one": -2.0, " zero": -4.0}
    of = {name: math.exp(value) for name, value in top.items()}
    expected = (of[" three"] + of[" two"]) / sum(of.values())
    assert read(body(" three", {"content": tokens((" three", top))}), "graded_4") == pytest.approx(expected, abs=1e-4)
    digits = {"1": -1.0, "7": -0.6, "3": -2.0}  # "1" may be the beginning of "10", so it says nothing
    assert read(body("7", {"content": tokens(("7", digits))}), "graded_10") == pytest.approx(
        share(-0.6, -2.0), abs=1e-4
    )


def test_streams_older_forms_and_pieces_of_characters_are_read() -> None:
    parts = tokens("“", ("true", {"true": -0.1, "false": -2.4}))
    chunks = [{"choices": [{"delta": {"role": "assistant", "content": None}}]}]
    chunks += [
        {"choices": [{"delta": {"content": text}, "logprobs": {"content": [part]}}]}
        for text, part in zip(("Verdict: ", "true"), tokens("Verdict: ", ("true", SURE | {"true": -0.1})), strict=True)
    ]
    chunks += [{"choices": [{"delta": {}, "finish_reason": "stop"}]}]
    stream = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n"
    assert read(stream.encode()) == pytest.approx(2 * math.exp(-0.1) / (2 * math.exp(-0.1) + math.exp(-2.4)), abs=1e-4)
    half = [{**parts[0], "token": "\ufffd", "bytes": [226, 128]}, {**parts[0], "token": "\ufffd", "bytes": [156]}]
    assert read(body("“true”", {"content": [*half, parts[1], *tokens("”")]})) == pytest.approx(
        share(-0.1, -2.4), abs=1e-4
    )
    old = {"tokens": ["true"], "token_logprobs": [-0.1], "top_logprobs": [{"true": -0.1, "false": -2.4}]}
    assert read(body("true", old)) == pytest.approx(share(-0.1, -2.4), abs=1e-4)


@pytest.mark.parametrize(
    "logprobs",
    [None, {}, [], {"content": None}, {"content": []}, {"content": tokens("other")}, {"content": [None, {"token": 3}]},
     {"content": [{"token": "true", "logprob": None, "top_logprobs": None}]}],
)  # fmt: skip
def test_what_gives_no_probability_is_no_error(logprobs: object) -> None:
    assert read(body("true", logprobs)) is None


def test_it_is_part_of_what_is_asked_of_traces_alone() -> None:
    off = TeacherSettings.model_validate({"endpoints": [HERE]})
    on = TeacherSettings.model_validate({"endpoints": [HERE], "logprobs": True})
    text = teacher_prompt("q", "p")
    assert Requests(off)(text).sampling == {"temperature": 0.6, "max_tokens": 4096}
    assert Requests(on)(text).sampling == {**Requests(off)(text).sampling, "logprobs": True, "top_logprobs": 5}
    assert Requests(on)(text).request_id != Requests(off)(text).request_id
    assert Requests(on)(text, purpose="judge") == Requests(off)(text, purpose="judge")
    assert fingerprint(on.identity()) != fingerprint(off.identity())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"endpoints": [{**HERE, "base_url": "https://api.anthropic.com/v1"}]}, "Anthropic's messages have no"),
        ({"source": "batch", "batch": {"api": "anthropic"}, "endpoints": [HERE]}, "Anthropic's messages have no"),
        ({"source": "labels"}, "logprobs: source labels sends no requests"),
    ],
)
def test_a_source_without_them_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TeacherSettings.model_validate({**values, "logprobs": True})


def test_traces_hold_it_and_what_has_none_is_counted_and_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def respond(asked: dict[str, Any]) -> tuple[int, str, dict[str, str]]:
        prompt = asked["messages"][0]["content"]
        with_some = asked.get("logprobs") and asked["top_logprobs"] == 5 and "query 1" in prompt
        logprobs = {"content": tokens(("true", {"true": -0.1, "false": -2.4}))} if with_some else None
        return 200, body("true", logprobs, reasoning="why").decode(), {"Content-Type": "application/json"}

    with answering(respond) as (url, _):
        settings = TeacherSettings.model_validate(
            {"endpoints": [{"base_url": url, "model": "m"}], "logprobs": True, "concurrency": 1}
        )
        counts = trace(make_pairs(12), settings, tmp_path)
    rows = {row.pair_id: row.p_relevant for row in read_rows(tmp_path, Trace)}
    known = [value for value in rows.values() if value is not None]
    assert known == pytest.approx([share(-0.1, -2.4)] * 3, abs=1e-4)  # queries 1, 10 and 11
    assert counts["verdict_probabilities"] == {"without log-probabilities": 9, "known": 3}
    said = capsys.readouterr().err
    assert said.count("teacher.logprobs: 9 of 12 readable verdicts have no probability (9 without log-probab") == 1
