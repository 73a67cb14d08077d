"""Verdicts and grades in real forms of answers, each with its source, and in templates: never opposite."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.verdicts import parse_grade, parse_verdict

# (source, answer, verdict). "form": written here in the form that the source's prompt or answers have.
FORMS = [
    ("Rank1, arXiv 2502.18418", "</think> true", 1),
    ("Rank1, arXiv 2502.18418", "<think>\nIt fits.\n</think> false", 0),
    ("TFRank", "yes(2)", 1),
    ("TFRank", "</think>\n\nno(0)", 0),
    ("DIRAS, GPT-4", "[Reason]: It names the year.\n\n[Guess]: Yes.\n\n[Confidence]: 0.9.", 1),
    ("DIRAS, Llama-3-8B", "Guess: No\n\nConfidence: 0.9\n\nIt lacks figures.<|eot_id|><|start_header_id|>", 0),
    ("DIRAS, Gemma-2b", "**Reason:** It is brief.\n\n**Guess:** No\n\n**Confidence:** 0.2", 0),
    ("DIRAS, Gemma-2b", "**Guess:**\n\nNo", 0),
    ("DIRAS, Phi-3", "<Guess>: Yes\n<Confidence>: 0.7", 1),
    ("DIRAS, Phi-3", "[Guess]: Partially helpful\n\n[Confidence]: 0.8", None),
    ("DIRAS, Phi-3", "[Guess]: No\n[Confidence]: 1.0\n===\n[Guess]: Your best guess, Yes or No", 0),
    ("SmolLM2", "False. The passage is not relevant to the query because it is about sharks.", 0),
    ("SmolLM2", "Yes, the passage is relevant to the query. It names the cost.", 1),
    ("SmolLM2", "True: The passage gives a direct definition.", 1),
    ("SmolLM2", "The passage is not directly relevant to the query, as it concerns a law.", 0),
    ("SmolLM2", "True: The passage is not relevant to the query.", None),
    ("SmolLM2", "False. The passage is not only unrelated to the query but wrong.", 0),
    ("SmolLM2", "The passage does not contain any information about the second war.", None),
    ("DeepSeek-R1, form", "The final answer is \\boxed{true}.", 1),
    ("Qwen, form", "$\\boxed{\\text{false}}$", 0),
    ("Qwen, form", "**Final Answer**: *No*", 0),
    ("GPT-4, JSON mode, form", '{"relevant": true}', 1),
    ("GPT-4, JSON mode, form", '```json\n{"reason": "relevant: true", "relevant": false}\n```', 0),
    ("JSON, form", '{"irrelevant": true}', 0),
    ("Python dictionary, form", "{'relevant': True}", 1),
    ("Claude, tags, form", "<answer>false</answer>", 0),
    ("Llama-3, form", "Relevance: Yes", 1),
    ("Llama-3, form", "Relevant (true/false): false", 0),
    ("Llama-3, form", "True or False: False", 0),
    ("Mistral, form", "Answer (yes or no): yes", 1),
    ("Mistral, form", "Verdict — NOT RELEVANT", 0),
    ("Mistral, form", "I would say yes", 1),
    ("Gemma, form", "Is the passage relevant to the query? Yes, it is.", 1),
    ("Gemma, form", "## Verdict\n\n**False**", 0),
    ("UMBRELA-like judge, form", "The passage directly answers the question.", 1),
    ("UMBRELA-like judge, form", "The passage does not answer the query.", 0),
    ("UMBRELA-like judge, form", "The passage fails to answer the query.", 0),
    ("FLAN, form", "irrelevant: true", 0),
    ("FLAN, form", "Not relevant: no mention of fish", 0),
    ("chat model, form", "There is no doubt that it is not relevant to the query.", 0),
    ("chat model, form", "No doubt it's relevant to the query.", 1),
    ("chat model, form", "The passage isn’t relevant to the query.", 0),
    ("chat model, form", "A passage about Africa cannot be relevant to the query.", 0),
    ("chat model, form", "The passage on America can't answer the query.", 0),
    ("chat model, form", "The passage isnt relevant to the query.", 0),
    ("chat model, form", "The passage doesnt answer the query.", 0),
    ("chat model, form", "I don't think the passage is relevant to the query.", 0),
    ("chat model, form", "Nothing in the passage is relevant to the query.", 0),
    ("chat model, form", "The passage is not irrelevant to the query.", None),
    ("chat model, form", "True, it mentions goldfish, but it lacks anything about their size.", None),
    ("chat model, form", "No. Wait, yes.", None),
    ("chat model, form", "Final answer: Yes\nFinal answer: No", None),
    ("chat model, form", "Answer: true\n\nThe passage is not relevant to the query.", None),
    ("chat model, form", "If the answer is yes, it would say so.", None),
    ("chat model, form", "The passage may be relevant to the query.", None),
    ("chat model, form", "Is it irrelevant? No.", None),
    ("emoji, form", "✅ True", 1),
    ("emoji, form", "❌ Relevant", None),
    ("checkbox, form", "- [x] Relevant\n- [ ] Not relevant", 1),
    ("struck out, form", "~~true~~ false", 0),
    ("table, form", "| Relevant | No |", 0),
    ("table, form", "| Criterion | Value |\n|---|---|\n| **Relevant** | Yes |\n| Confidence | high |", 1),
    ("table, form", "| Verdict | true |", 1),
    ("table, form", "| Relevant | Not relevant |", None),
    ("table, form", "| Yes | No |", None),
    ("table, form", "| Relevant | Yes |\n| Relevant | No |", None),
    ("chat model, form", "isn't relevant", 0),
    ("chat model, form", "Isn't relevant.", 0),
    ("chat model, form", "Isn't relevant?", None),
    ("chat model, form", "Isn't irrelevant.", None),
    ("chat model, form", "Isn't entirely relevant.", None),
    ("Qwen2.5-0.5B", "This passage helps someone who searches for the query by naming the year.", 1),
    ("Qwen2.5-0.5B", "Based on the passage, this query does not help someone who searched for the query.", 0),
    ("Qwen2.5-0.5B", "Verdict: relevant\nThis passage does not help anyone who searched for the query.", None),
    ("Qwen2.5-0.5B", "Based on the passage, I believe it is a good search result for 'fish'.", 1),
    ("Qwen2.5-0.5B", "The passage does not seem to be a good search result for 'fish'.", 0),
    ("chat model, form", "Your colleague says that the passage is a good search result for 'fish'.", None),
    ("chat model, form", "I do not agree that this passage is a good search result for 'fish'.", None),
    ("chat model, form", "The passage could be a good search result for 'fish'.", None),
    ("chat model, form", "The passage is a poor match for the query.", 0),
    ("chat model, form", "The passage is not a bad match for the query.", None),
    ("chat model, form", "The passage is hardly a good match for the query.", None),
    ("Qwen2.5-0.5B", "Based on the passage, the relevance of this text is high.", 1),
    ("chat model, form", "The relevance of the passage is low.", 0),
    ("chat model, form", "The relevance of the passage is not high.", None),
    ("German, form", "Nein.", 0),
    ("Chinese, form", "Verdict: 是", 1),
]


@pytest.mark.parametrize(("source", "answer", "verdict"), FORMS)
def test_a_form_of_an_answer_is_read(source: str, answer: str, verdict: int | None) -> None:
    assert parse_verdict(answer) == verdict, source


@pytest.mark.parametrize(
    ("answer", "grade"),
    [
        ("Grade (0-4): 3", 3), ("(0-4): 3", 3), ("Grade: 3.0", 3), ("Grade: 3.5", None), ("Score: -1", None),
        ("Score: −1", None), ("Score: –1", None), ("3/4", 3), ("3/5", None), ("score: 2 out of 4", 2),
        ("Grade: three (3)", 3), ("Grade: three (2)", None), ("Grade: 7", None), ("I would give it a 3.", 3),
        ("Score: 2-3", None), ("Grade: 3 or 4", None), ('{"grade": 3}', 3), ("\\boxed{4}", 4), ("Grade: not 3", None),
        ("On a scale of 0 to 4: 2", 2), ("Relevance: 1 (irrelevant)", 1), ("Grade: 2\nGrade: 3", None),
        ("at least 3", None), ("Score: 0.5", None), ("I'd give it at most a 2", None),
    ],
)  # fmt: skip
def test_a_grade_is_read_on_its_own_scale(answer: str, grade: int | None) -> None:
    assert parse_grade(answer, 4) == grade


POSITIVE, NEGATIVE = ("true", "Yes", "TRUE"), ("false", "No", "not relevant", "irrelevant", "non-relevant")
TEMPLATES = (
    "{}", "{}.", "Answer: {}", "The answer is {}.", "Final verdict: {}\n", "Relevant (true/false): {}",
    "It is long.\n\n{}",
    "Relevance (yes or no) - {}", "Verdict — {}", "I would say {}", "{}\nBecause of its topic.", "\\boxed{{{}}}",
    '{{"relevant": "{}"}}', "<answer>{}</answer>", "Is the passage relevant? {}", "So, the conclusion is: {}.",
)  # fmt: skip
MARKS = ("{}", "**{}**", "`{}`", '"{}"', "'{}'", "_{}_", "“{}”", "[{}]", "({})", "✅ {}", "*{}*")
NEGATORS = ("not {}", "isn't {}", "by no means {}", "never {}", "not at all {}", "hardly {}", "far from {}", "not un{}")


@given(st.sampled_from(TEMPLATES), st.sampled_from(MARKS), st.sampled_from(POSITIVE + NEGATIVE))
def test_no_template_and_no_markup_turns_a_verdict_round(template: str, mark: str, word: str) -> None:
    assert parse_verdict(template.format(mark.format(word))) in (None, int(word in POSITIVE))


@given(st.sampled_from(TEMPLATES), st.sampled_from(NEGATORS), st.sampled_from(("true", "relevant")))
def test_no_negated_verdict_is_read_as_true(template: str, negator: str, word: str) -> None:
    assert parse_verdict(template.format(negator.format(word))) in (None, 0)


@given(st.text(alphabet="{}()[]<>\\/:.,-_*'\"0123 \nyesnotruefalsrelevant", max_size=300))
def test_no_text_raises(text: str) -> None:
    assert parse_verdict(text) in (None, 0, 1) and parse_grade(text, 3) in (None, 0, 1, 2, 3)


@pytest.mark.parametrize(
    "part", ["{", "\\boxed{", "<answer>", "answer: ", "true/false ", "not ", "0-4 ", "\n", " ", '{"a":']
)
def test_a_hundred_kilobytes_take_no_more_than_linear_time(part: str) -> None:
    start = time.process_time()
    parse_verdict(part * (100_000 // len(part)))
    assert time.process_time() - start < 5  # measured at most 0.5 seconds; backtracking takes minutes


TRUTH = {"yes": 1, "no": 0, "true": 1, "false": 0, "none": None, None: None}


def test_published_answers_are_read_as_published(shared: Path) -> None:
    for name, readable in (("diras_chatreport_traces", 3954), ("diras_generalqa_gpt4_traces", 1470)):
        lines = (shared / "traces" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [(TRUTH[row["verdict"]], parse_verdict(row["raw_output"])) for row in map(json.loads, lines)]
        read = Counter(said is not None for truth, said in rows if truth is not None)
        assert read.total() == readable and read[True] >= 0.995 * readable
        assert all(said in (None, truth) for truth, said in rows)


def test_answers_of_a_live_model_are_read() -> None:
    """Qwen2.5-Coder-0.5B-Instruct (Q4_K_M) by llama.cpp, five wordings on 20 pairs, labelled by reading."""
    lines = Path(__file__).with_name("live_answers.jsonl").read_text(encoding="utf-8").split("\n")
    sure = [row for row in map(json.loads, filter(None, lines)) if row["verdict"] != "unsure"]
    rows = [(TRUTH[row["verdict"]], parse_verdict(row["answer"])) for row in sure]
    assert all(said in (None, truth) for truth, said in rows)
    plain = [said for truth, said in rows if truth is not None]
    assert len(plain) == 86 and sum(said is not None for said in plain) >= 0.95 * len(plain)


def test_answers_in_sentences_are_read(shared: Path) -> None:
    lines = (shared / "traces" / "live_answers.jsonl").read_text(encoding="utf-8").splitlines()
    sure = [row for row in map(json.loads, lines) if row["sure"]]
    rows = [(TRUTH[row["verdict"]], parse_verdict(row["raw_output"])) for row in sure]
    assert all(said in (None, truth) for truth, said in rows)
    plain = [said for truth, said in rows if truth is not None]
    assert sum(said is not None for said in plain) >= 0.95 * len(plain)
