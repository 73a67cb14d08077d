"""The filter `length`; the engine calls it for each trace."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import Field, model_validator

from distill.records import Pair, Trace
from filters.base import Filter, RowFilter, ToolName, Tools, need


class Length(RowFilter):
    """Drops what is too long; nothing is ever cut to fit, since a cut row loses its verdict.

    `max_tokens` bounds the answer, in the tokens that the teacher billed for it, or a quarter of the characters where
    it did not say. `max_length` bounds prompt, reasoning and verdict together, in the student's tokens: the
    `max_length` of training. Give one or both.
    """

    max_tokens: int | None = Field(
        None, ge=1, description="most completion tokens, as the teacher counts them; default: no bound"
    )
    max_length: int | None = Field(
        None, ge=1, description="most tokens of the whole training row, as the student counts them; default: no bound"
    )
    _row_tokens: Callable[[Pair, Trace], int] | None = None

    @model_validator(mode="after")
    def _bounds_something(self) -> Length:
        if self.max_tokens is None and self.max_length is None:
            raise ValueError("give max_tokens (of the answer) or max_length (of the training row), or both")
        return self

    def uses(self) -> tuple[ToolName, ...]:
        return ("row_tokens",) if self.max_length is not None else ()

    def prepare(self, tools: Tools) -> Filter:
        """With the student's counts, where they are needed. Raises ConfigError where there are none."""
        if self.max_length is not None:
            remedy = "with max_length needs the student's tokenizer, and there is none yet; use max_tokens"
            self._row_tokens = need(tools.row_tokens, self.name, remedy)
        return self

    def __call__(self, pair: Pair, trace: Trace) -> str | None:
        """That the answer, or the whole row, is too long."""
        if self.max_tokens is not None:
            tokens = len(trace.reasoning) // 4 if trace.estimated else trace.completion_tokens
            if tokens > self.max_tokens:
                return f"longer than {self.max_tokens} tokens"
        if self.max_length is None or trace.verdict is None:
            return None
        if need(self._row_tokens, self.name, "with max_length was not prepared")(pair, trace) <= self.max_length:
            return None
        return f"prompt, reasoning and verdict are longer than {self.max_length} tokens of the student"
