"""Counts a prompt's tokens, by the teacher's tokenizer or guessed from its bytes. For the stage and the estimate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill.errors import ConfigError, first_line
from teacher.client import guess_tokens
from teacher.settings import TeacherSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Counting:
    """Counts prompts. Raises ConfigError when the tokenizer that the settings name cannot be loaded."""

    def __init__(self, settings: TeacherSettings) -> None:
        self._settings = settings
        self._tokenizer: PreTrainedTokenizerBase | None = None
        if settings.tokenizer:
            from transformers import AutoTokenizer

            try:
                self._tokenizer = AutoTokenizer.from_pretrained(settings.tokenizer)
            except (OSError, ValueError) as error:
                reason = first_line(error)
                raise ConfigError(f"teacher.tokenizer: {settings.tokenizer} cannot be loaded ({reason})") from None

    def tokens(self, text: str) -> int:
        """Tokens of a chat message, some for the template around it included."""
        if self._tokenizer is None:
            return guess_tokens(text) + 4
        return len(self._tokenizer.encode(text, add_special_tokens=False)) + 8

    def has_room(self, content: str) -> bool:
        """Whether the prompt and `max_tokens` fit the teacher's window; True where the window is not known."""
        window = self._settings.context
        return window is None or self.tokens(content) + self._settings.max_tokens <= window
