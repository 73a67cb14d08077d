"""The example's teacher: rules that read a prompt, reason in words, and err at rates that are set.

It sees the text of the message and nothing else. Where query and passage speak the world's language it
goes through the conditions in the query's order, quotes what the passage says to each, stops at the first that fails
(unless it is thorough) and ends with a verdict. Asked for a grade it goes on, counts the conditions that hold, and says
the grade that follows. Other text it answers in the same form by word overlap; such verdicts are worthless.

Every choice it makes is drawn from a hash of the message and the request's `seed`: equal requests get equal
answers in any order and from any number of servers.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from distill.example.reading import by_overlap, read_prompt, steps_of
from distill.example.tasks import do
from distill.prompts import PROMPT_NAME, PROMPTS, Prompt

FAULTS = ("wrong", "truncated", "empty", "unclosed", "chinese", "loop")


class TeacherSettings(BaseModel):
    """How the teacher answers, how often it errs (at most one fault an answer), how slow it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field("example-teacher", description="the model's name in answers")
    reasoning_format: Literal["reasoning_content", "reasoning", "inline"] = Field(
        "reasoning_content", description="where an answer has its reasoning: a field of that name, or inline in <think>"
    )
    api_key: str | None = Field(None, description="a key that requests must bring; default: none is needed")
    seed: int = Field(0, description="of the faults and delays")
    wrong: float = Field(0.0, ge=0, description="a condition is misread, and the verdict with it")
    truncated: float = Field(0.0, ge=0, description='stops in the middle: finish_reason "length", no verdict')
    empty: float = Field(0.0, ge=0, description="no text at all")
    unclosed: float = Field(0.0, ge=0, description="the reasoning is never closed, so there is no answer")
    chinese: float = Field(0.0, ge=0, description="a stray Chinese sentence in English reasoning")
    loop: float = Field(0.0, ge=0, description="one sentence again and again")
    thorough: bool = Field(False, description="goes through all conditions, whatever failed before")
    latency_s: float = Field(0.0, ge=0, description="the mean; 0 answers without delay")
    latency_sigma: float = Field(0.5, ge=0, description="of the log-normal that latencies are drawn from")

    @model_validator(mode="after")
    def _at_most_one_fault(self) -> TeacherSettings:
        total = sum(getattr(self, fault) for fault in FAULTS)
        if total > 1:
            raise ValueError(f"the rates of {', '.join(FAULTS)} are {total:g} together; at most 1 is possible")
        return self


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer before it is put into a format. `fault` says what went wrong on purpose; it never travels."""

    reasoning: str
    verdict: str  # the answer: true, false, a grade in words, or what another task asked for; "" where there is none
    closed: bool  # whether the reasoning came to its end
    finish_reason: str
    fault: str | None


# How a trace opens: kind and place are checked first.
_OPENINGS = ("", "Okay. ")
_SAME = 2  # the first steps: the thing is of the kind, and in the place
_CHINESE = ("等等，让我再看一遍这段话。", "这个条件看起来没有问题。", "我们需要仔细检查这一点。")


class Teacher:
    """Answers prompts by rules."""

    def __init__(self, settings: TeacherSettings) -> None:
        """Keep the settings; there is no other state."""
        self.settings = settings

    def reply(self, message: str, seed: int | None = None) -> Reply:
        """The answer to one chat message."""
        key = f"{self.settings.seed}\0{seed}\0{message}".encode()
        draws = hashlib.blake2b(key, digest_size=16).digest()
        fault = self._fault(int.from_bytes(draws[:6]) / 2**48)
        if fault == "empty":
            return Reply("", "", True, "stop", fault)
        done = do(message, draws, fault == "wrong")
        sentences, said = done if done is not None else self._reason(message, draws, fault == "wrong")
        pick = int.from_bytes(draws[8:12])
        if fault == "chinese":
            sentences.insert(1 + pick % len(sentences), _CHINESE[pick % len(_CHINESE)])
        elif fault == "loop":
            sentences[-1:] = [sentences[-1]] * (8 + pick % 17)
        reasoning = " ".join(sentences)
        if fault == "truncated":
            cut = len(reasoning) * (20 + pick % 70) // 100
            return Reply(reasoning[:cut], "", False, "length", fault)
        return Reply(reasoning, said, fault != "unclosed", "stop", fault)

    def _fault(self, draw: float) -> str | None:
        for fault in FAULTS:
            draw -= getattr(self.settings, fault)
            if draw < 0:
                return fault
        return None

    def _reason(self, message: str, draws: bytes, wrong: bool) -> tuple[list[str], str]:
        scale = next((p for p in PROMPTS.values() if message.startswith(p.task)), PROMPTS[PROMPT_NAME])
        graded = len(scale.verdicts) > 2
        query, passage = read_prompt(message)
        steps = steps_of(query, passage)
        if steps is None:
            sentences, verdict = by_overlap(query, passage)
            return sentences, _word(scale, float(verdict is not wrong))
        judged = [step.holds for step in steps]
        if wrong and all(judged):  # one condition is misread as failing
            judged[draws[6] % len(steps)] = False
        elif wrong:  # whatever fails is read as holding
            judged = [True] * len(steps)
        sentences = []
        for at, (step, holds) in enumerate(zip(steps, judged, strict=True)):
            sentences.append(f"{step.wanted}{step.found}: {'good' if holds else 'bad'}.")
            if not holds and not self.settings.thorough and not (graded and at >= _SAME):
                break
        sentences[0] = _OPENINGS[draws[7] % len(_OPENINGS)] + sentences[0]
        if not graded:
            return sentences, _word(scale, float(all(judged)))
        if not all(judged[:_SAME]):  # another kind or place: nothing else counts
            return sentences, _word(scale, 0.0)
        met, conditions = sum(judged[_SAME:]), len(judged) - _SAME
        return [*sentences, f"That is {met} of {conditions}."], _word(scale, met / conditions)


def _word(scale: Prompt, share: float) -> str:
    """The verdict where this share of the conditions is met: the highest grade for all, else one that is not relevant.

    So the grades agree with the world's labels: of graded_10 three of four conditions make three, below five.
    """
    grade = len(scale.verdicts) - 1 if share == 1 else int(share * scale.relevant_from)
    return scale.verdicts[grade].strip()
