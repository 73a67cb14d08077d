"""What an encoder reads: query and passage as one row of ids, one score out. Used by the encoder backend.

It takes the place of a student's prompt, so that requests, long passages and overlong queries are treated alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distill.errors import InputError, first_line
from distill.prompts import query_text
from distill.rerank.student_format import StudentFormat, config_of
from distill.weights import check_files

TRIED = ("a query", "a passage")  # whose kinds of positions are computed and compared with the tokenizer's


@dataclass(frozen=True, slots=True)
class EncoderFormat(StudentFormat):
    """An encoder's format. `typed` says whether its rows have two kinds of positions, those of the query first."""

    typed: bool = False

    @property
    def writes(self) -> bool:
        """An encoder cannot."""
        return False

    def encoded(self, texts: Sequence[tuple[str, str, str | None]]) -> list[list[int]]:
        """The ids of rows, each of a query, a passage and an instruction; special tokens in a text are text."""
        if not texts:
            return []
        queries = [query_text(query, instruction) for query, _, instruction in texts]
        passages = [passage for _, passage, _ in texts]
        rows: list[list[int]] = self.tokenizer(queries, passages, verbose=False)["input_ids"]
        return rows

    def kinds(self, row: Sequence[int]) -> list[int]:
        """The kind of each position of a row: 0 up to the first separator, 1 after it."""
        first = row.index(self.tokenizer.sep_token_id) + 1
        return [0] * first + [1] * (len(row) - first)


def encoder_format(path: str) -> EncoderFormat:
    """The format of the cross-encoder at `path` (folder or hub name).

    Raises InputError where its files are damaged, or it has no tokenizer that frames a pair of texts.
    """
    from transformers import AutoTokenizer

    check_files(path)
    config = config_of(path).get_text_config()
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(path, split_special_tokens=True)
    except Exception as error:  # of a damaged file tokenizers raises just that
        raise InputError(f"{path}: its tokenizer does not load ({first_line(error)})") from None
    typed = "token_type_ids" in tokenizer.model_input_names
    held = int(getattr(config, "max_position_embeddings", None) or 512)
    offset = config.pad_token_id + 1 if config.model_type in ("roberta", "xlm-roberta", "camembert") else 0
    form = EncoderFormat(
        tokenizer=tokenizer,
        verdicts=(1, 0),  # no ids: the backend gives the probabilities of relevant and of not relevant
        grades=(1, 0),
        close=[],
        end=None,
        stops=frozenset(),
        context=min(held - offset, tokenizer.model_max_length),
        bound=1,
        typed=typed,
    )
    framed = tokenizer(*TRIED)
    if tokenizer.sep_token_id not in framed["input_ids"] or (
        typed and form.kinds(framed["input_ids"]) != framed["token_type_ids"]
    ):
        raise InputError(f"{path}: its tokenizer does not frame a pair of texts as an encoder's does; train another")
    return form
