"""What every backend needs of a student apart from its weights: tokenizer, verdict tokens, prompt, how text ends."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from distill.errors import InputError, first_line
from distill.prompts import END_THINK, FIELDS, PROMPT_NAME, PROMPTS, prompt_ids, student_prompt, verdict_ids
from distill.records import Pair, make_pair
from distill.weights import check_files, check_head

if TYPE_CHECKING:
    from transformers import PretrainedConfig

Long = Literal["cut", "split", "refuse"]
LONG = ("cut", "split", "refuse")
NOTE = "distill.json"  # in a student's folder: prompt and target that it was trained with, tokens of its longest trace
MAX_REASONING = 8192  # what a thinking student may write at most where nothing is known of its traces, as Rank1 has it
NEARLY = 0.95  # of the room: a part of a passage that fills so much of it is long enough
OVERLAP = 0.1  # of a part, when a passage is split: what a cut tears apart is whole in one of the two
WRITES_NOTHING = "an encoder reads query and passage and writes nothing, so it cannot reason; use mode direct"
SENTENCE_ENDS = (". ", "? ", "! ", ".\n", "。")


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """A pair's prompts: one, or several where a passage was split; `how` is "", "cut" or "split"."""

    pair: Pair
    rows: list[list[int]]
    how: str = ""


@dataclass(frozen=True, slots=True)
class StudentFormat:
    """A student's format.

    `verdicts` are the ids of the tokens that may follow `</think>`, the highest grade first, `grades` what each says (1
    and 0 for " true" and " false"). `close` is `\n</think>`, which ends reasoning by force; `end` is the one id of
    `</think>`, None where it is several. `stops` end a text; `context` is in tokens, and so is `bound`, that
    of the reasoning where none is asked for.
    """

    tokenizer: Any
    verdicts: tuple[int, ...]
    grades: tuple[int, ...]
    close: list[int]
    end: int | None
    stops: frozenset[int]
    context: int
    prompt: str = PROMPT_NAME
    bound: int = MAX_REASONING

    @property
    def writes(self) -> bool:
        """Whether such a student can write a reasoning."""
        return True

    def ended(self, ids: Sequence[int]) -> bool:
        """Whether generated `ids` end with `</think>`, as one token or as text."""
        if self.end is not None:
            return bool(ids) and ids[-1] == self.end
        return str(self.tokenizer.decode(ids[-8:])).rstrip().endswith(END_THINK)

    def closed(self, ids: list[int], prompt: int) -> list[int]:
        """`ids` as Rank1 closes them: up to the last sentence end (all where there is none), then `\\n</think>`.

        They stay within the context after a prompt of so many tokens, though text encoded again may be of more.
        """
        text = self.tokenizer.decode(ids)
        last = max(text.rfind(mark) for mark in SENTENCE_ENDS)
        kept = text[: last + 1] if last > 0 else text
        made = list(self.tokenizer.encode(f"{kept.rstrip()}\n{END_THINK}", add_special_tokens=False))
        room = self.context - prompt - 1
        return made if len(made) <= room else made[: max(0, room - len(self.close))] + self.close

    @property
    def early(self) -> list[int]:
        """What may not come before a task's `min_new` tokens: what ends a text, and `</think>` or its start."""
        return [*self.stops, self.tokenizer.encode(END_THINK, add_special_tokens=False)[0]]

    def reasoning(self, ids: Sequence[int]) -> str:
        """The text of what was written, without `</think>`."""
        return str(self.tokenizer.decode(list(ids))).removesuffix(END_THINK).strip() if ids else ""

    def prompts(self, pairs: Sequence[Pair], room: int, long: Long = "cut") -> list[EncodedPrompt]:
        """The pairs' prompts, each leaving `room` tokens of the context; query, frame and suffix are never lost.

        A passage too long is `cut` (its first part stays), `split` (into parts that overlap by a tenth), or refused.
        Raises InputError then, and where a query alone leaves no room.
        """
        limit = self.context - room
        rows = self.encoded([(p.query, p.passage, p.instruction) for p in pairs])
        return [
            EncodedPrompt(pair, [row]) if len(row) <= limit else self._shorter(pair, len(row), limit, long)
            for pair, row in zip(pairs, rows, strict=True)
        ]

    def encoded(self, texts: Sequence[tuple[str, str, str | None]]) -> list[list[int]]:
        """The token ids of prompts, each of a query, a passage and an instruction."""
        prompts = [student_prompt(query, passage, instruction, self.prompt) for query, passage, instruction in texts]
        return prompt_ids(self.tokenizer, prompts) if prompts else []

    def shortened(self, pairs: Sequence[Pair], passage: int | None, prompt: int | None) -> list[Pair]:
        """The pairs, each with the first `passage` tokens of its passage, fewer where its prompt is of more than
        `prompt`. Raises InputError where a query leaves a passage no space in so many."""
        frames: dict[tuple[str, str | None], int] = {}
        shorter = []
        for pair in pairs:
            most = passage
            if prompt is not None:
                key = pair.query, pair.instruction
                if key not in frames:
                    frames[key] = len(self.encoded([(pair.query, "", pair.instruction)])[0])
                if frames[key] >= prompt:
                    raise InputError(
                        f"query {pair.query_id}: without a passage its prompt has {frames[key]} tokens, and {prompt} "
                        "are asked for; ask for more or shorten it"
                    )
                most = prompt - frames[key] if most is None else min(most, prompt - frames[key])
            text = pair.passage if most is None else self._first_tokens(pair.passage, most)
            same = text == pair.passage
            shorter.append(pair if same else make_pair(pair.query_id, pair.doc_id, pair.query, text, pair.instruction))
        return shorter

    def _first_tokens(self, text: str, most: int) -> str:
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=self.tokenizer.is_fast)
        if len(encoded["input_ids"]) <= most:
            return text
        if self.tokenizer.is_fast:
            return text[: encoded["offset_mapping"][most - 1][1]]
        return str(self.tokenizer.decode(encoded["input_ids"][:most]))

    def overlong(self, pairs: Sequence[Pair], room: int) -> dict[str, int]:
        """{query id: tokens} of the queries that leave no passage any space, with `room` tokens left free."""
        texts = {p.query_id: (p.query, "", p.instruction) for p in pairs}
        rows = self.encoded(list(texts.values()))
        return {query: len(row) for query, row in zip(texts, rows, strict=True) if len(row) > self.context - room}

    def _shorter(self, pair: Pair, tokens: int, limit: int, long: Long) -> EncodedPrompt:
        if long == "refuse":
            raise InputError(
                f"query {pair.query_id}, passage {pair.doc_id}: {tokens} tokens, and the student reads {limit}; "
                "shorten it, or choose --long cut or split"
            )
        rows: list[list[int]] = []
        start, guess = 0, 1 + len(pair.passage) * max(limit, 0) // tokens
        while start < len(pair.passage) or not rows:
            row, taken = self._first_part(pair, pair.passage[start:], limit, guess)
            rows.append(row)
            if long == "cut" or start + taken >= len(pair.passage):
                break
            start += max(1, int(taken * (1 - OVERLAP)))
        return EncodedPrompt(pair, rows, long)

    def _first_part(self, pair: Pair, text: str, limit: int, guess: int) -> tuple[list[int], int]:
        """(ids, characters): the longest beginning of `text`, to within a few per cent, whose prompt fits.

        Begins with `guess` characters, so that what a giant passage costs grows with its length, not with its square.
        """
        low, high, best = 0, len(text) + 1, None  # what fits, what does not
        characters = min(len(text), guess)
        while True:
            row = self.encoded([(pair.query, text[:characters], pair.instruction)])[0]
            if len(row) <= limit:
                low, best = characters, row
                if low == len(text) or len(row) > NEARLY * limit:
                    return row, low
                characters = min(high - 1, max(low + 1, low * limit // len(row)))
            elif characters == 0:
                raise InputError(
                    f"query {pair.query_id}: it alone is longer than the {limit} tokens that the student reads here; "
                    "shorten it or leave it out"
                )
            else:
                high = characters
                characters = min(high - 1, max(low, int(high * max(limit, 0) / len(row) * 0.97)))
            if best is not None and (characters == low or high - low <= low // 50):
                return best, low


def form_of(path: str, context: int | None = None, prompt: str | None = None, weights: bool = True) -> StudentFormat:
    """The format of the student at `path` (folder or hub name); `context` where the engine holds less than the model.

    Its files are looked at first (`distill.weights.check_files`); not its weights where a server holds them.

    Raises InputError where there is no tokenizer or configuration, where a verdict is not one token, or where the
    prompt is none that this project knows.
    """
    from transformers import AutoTokenizer

    check_files(path, weights)
    whole = config_of(path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
    except Exception as error:  # of a damaged file tokenizers raises just that
        raise _not_loaded(path, error) from None
    check_head(path, whole)
    config = whole.get_text_config()
    name = (
        prompt
        or _noted_prompt(path)
        or ("delimited" if set(FIELDS) <= set(tokenizer.get_added_vocab()) else PROMPT_NAME)
    )
    if name not in PROMPTS:
        raise InputError(f"{path}: prompt {name!r} is none of {', '.join(PROMPTS)}")
    try:
        verdicts = verdict_ids(tokenizer, name)[::-1]
    except ValueError as error:
        raise InputError(f"{path}: {error}; its scores would be garbage") from None
    single = tokenizer.encode(END_THINK, add_special_tokens=False)
    held = int(getattr(config, "max_position_embeddings", None) or 4096)
    return StudentFormat(
        tokenizer=tokenizer,
        verdicts=tuple(verdicts),
        grades=tuple(range(len(verdicts)))[::-1],
        close=tokenizer.encode(f"\n{END_THINK}", add_special_tokens=False),
        end=single[0] if len(single) == 1 else None,
        stops=frozenset(_stops(tokenizer, config)),
        context=min(held, context) if context else held,
        prompt=name,
        bound=reasoning_bound(path),
    )


def config_of(path: str) -> PretrainedConfig:
    """The configuration of the student at `path`. Raises InputError where there is none, or it cannot be read."""
    from transformers import AutoConfig

    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(path)
    except Exception as error:  # of a damaged file it may be any
        raise _not_loaded(path, error) from None
    return config


def _not_loaded(path: str, error: Exception) -> InputError:
    cause = first_line(error)
    if not Path(path).is_dir() and (path.count("/") > 1 or path[:1] in (".", "/")):
        return InputError(f"{path}: no such folder; name a student's, such as runs/NAME/students/think")
    if not Path(path).is_dir():
        return InputError(f"{path}: no such folder, and no hub model that can be had here ({cause})")
    return InputError(f"{path}: not a student that loads ({cause})")


def reasoning_bound(path: str) -> int:
    """How many tokens the reasoning of the student at `path` may have: twice its longest training trace, as its folder
    notes it; 8,192 where it does not. Raises InputError for a note that cannot be read."""
    longest = note_of(path).get("longest_trace")
    return 2 * longest if isinstance(longest, int) and longest > 0 else MAX_REASONING


def _noted_prompt(path: str) -> str | None:
    """The prompt that the student's own note names, None without one."""
    named = note_of(path).get("prompt")
    return str(named) if named else None


def note_of(path: str) -> dict[str, Any]:
    """What the student's folder notes of its training, {} where there is no note."""
    note = Path(path) / NOTE
    if not note.is_file():
        return {}
    try:
        noted = json.loads(note.read_text(encoding="utf-8"))
    except ValueError:
        noted = None
    if not isinstance(noted, dict):
        raise InputError(f"{note}: not a JSON object with a prompt; write it again or remove it")
    return noted


def is_encoder(path: str) -> bool:
    """Whether the model at `path` is a cross-encoder that gives one score: by the note in its folder, else by its
    configuration, also where a hub model's lies in the cache. Nothing is downloaded."""
    kind = note_of(path).get("kind")
    if kind is not None:
        return bool(kind == "encoder")
    file = Path(path) / "config.json"
    if not Path(path).is_dir():
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError

        try:
            file = Path(str(try_to_load_from_cache(path, "config.json")))
        except HFValidationError:
            return False
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        head, scores, family = config["architectures"][0], len(config["id2label"]), config["model_type"]
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return False  # what is wrong is said where it is loaded
    if not str(head).endswith("ForSequenceClassification") or scores != 1:
        return False
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    return family in MODEL_FOR_MASKED_LM_MAPPING_NAMES  # a direct student's classifier reads a prompt


def refuse_retriever(path: str) -> None:
    """Raises InputError where the folder holds a retriever, a student of that target or any bi-encoder of
    sentence-transformers: it has a vector for a text, and a language model's head would score pairs by chance."""
    modules = Path(path) / "modules.json"
    pooled = modules.is_file() and '_Pooling"' in modules.read_text(encoding="utf-8")
    if note_of(path).get("kind") == "retriever" or pooled:
        raise InputError(
            f"{path}: is a retriever, which finds passages and cannot score a pair; give it as first_stage: "
            "{retriever: …} of an evaluation set, or to `distill index` (docs/encoders.md)"
        )


def usual_mode(path: str) -> Literal["think", "direct"]:
    """The mode that the student was trained for, by the note in its folder; `think` where nothing is noted."""
    note = note_of(path)
    direct = note.get("mode", note.get("target")) in ("direct", "verdict_first") or is_encoder(path)
    return "direct" if direct else "think"


def _stops(tokenizer: Any, config: Any) -> set[int]:
    """The ids that end a text: the tokenizer's and the configuration's."""
    named = getattr(config, "eos_token_id", None)
    found = {tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])}
    return {token for token in found if token is not None}
