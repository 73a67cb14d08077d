"""Length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from pydantic import Field, model_validator

from distill.records import Pair, Trace
from filters.base import Rule, Tools, need


class Length(Rule):
    """Drops what is too long; nothing is ever cut to fit (a cut row loses its verdict: STACK, TRL's truncation trap).

    `max_tokens` bounds the answer, in the tokens that the teacher billed for it, or a quarter of the characters where
    it did not say. `max_length` bounds prompt, reasoning and verdict together, in the student's tokens: the
    `max_length` of training. Give one or both.
    """

    name: ClassVar[str] = "length"
    max_tokens: int | None = Field(None, ge=1)
    max_length: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _bounds_something(self) -> Length:
        if self.max_tokens is None and self.max_length is None:
            raise ValueError("give max_tokens (of the answer) or max_length (of the training row), or both")
        return self

    def uses(self) -> tuple[str, ...]:
        return ("row_tokens",) if self.max_length is not None else ()

    def bind(self, tools: Tools) -> Any:
        """With the student's counts, where they are needed. Raises ConfigError where there are none."""
        if self.max_length is None:
            return self
        remedy = "with max_length needs the student's tokenizer, and there is none yet; use max_tokens"
        return _Bound(self, self.max_length, need(tools.row_tokens, self.name, remedy))

    def __call__(self, pair: Pair, trace: Trace) -> str | None:
        """That the answer is too long."""
        tokens = len(trace.reasoning) // 4 if trace.estimated else trace.completion_tokens
        return None if self.max_tokens is None or tokens <= self.max_tokens else f"longer than {self.max_tokens} tokens"


class _Bound:
    name = Length.name
    bound = True

    def __init__(self, rule: Length, most: int, tokens: Callable[[Pair, Trace], int]) -> None:
        self.rule, self.most, self.tokens = rule, most, tokens
        self.picklable = bool(getattr(tokens, "picklable", False))

    def __call__(self, pair: Pair, trace: Trace) -> str | None:
        said = self.rule(pair, trace)
        if said or trace.verdict is None or self.tokens(pair, trace) <= self.most:
            return said
        return f"prompt, reasoning and verdict are longer than {self.most} tokens of the student"
