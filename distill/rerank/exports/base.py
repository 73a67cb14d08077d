"""What a format is and needs: the student to be exported, what it can be read as, and the texts of the check."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from distill.errors import InputError
from distill.records import Pair, make_pair
from distill.rerank.encoder_format import encoder_format
from distill.rerank.reranker import Reranker
from distill.rerank.student_format import StudentFormat, form_of, is_encoder, note_of, refuse_retriever

TEXTS = 100
BATCH = 8  # texts that are read back together
NEAREST = (
    "serve it with vLLM by completions (docs/use-your-student.md, thinking students), or export a student of target "
    "direct, verdict_first or mixed"
)
GRADES = "export it --to onnx, whose graph has that mean, or --to gguf"
# What tokenizers and templates differ in: white space, digits, accents, other scripts, emoji, control tokens as texts.
AWKWARD = (
    "a  1  two spaces", "tab\tand\nline", "2026-11-29, 3.14159 and 1,234,567?", "don't can't WE'LL", "naïve café ÅÄÖ",
    "Straße МОСКВА", "日本語のテキスト。", "中文测试，标点。", "العربية ١٢٣", "🦊🚀",
    "👩‍👩‍👧", "e\u0301 combined", "C++ & C# <b>html</b>",
    "a_b-c.d/e\\f", '{"key": [1, null]}', "<think>\n</think> true", "<|im_end|> <|im_start|>user", "[INST] [/inst] [x]",
    "</think>", "Query: other\nPassage: none", "ends in a mark.", "ends in a line\n\n", "{{ query }} {% raw %}",
    "<|query|>x<|end_field|> <|a|b|> <| c |>", "<｜end｜> < think> <THINK>",
)  # fmt: skip
SUBJECTS = ("a flat in Visby", "the ferry's hours", "how bees find home", "old maps", "who wrote it?", "cheap, quiet")


@dataclass(frozen=True, slots=True)
class ExportedStudent:
    """A student's folder, its format, and the target that its folder notes (None for a model from elsewhere)."""

    folder: Path
    form: StudentFormat
    target: str | None

    @property
    def true(self) -> int:
        """The id of the verdict's word for relevant."""
        return self.form.verdicts[0]

    @property
    def false(self) -> int:
        """The id of the verdict's word for not relevant."""
        return self.form.verdicts[-1]


class Format(ABC):
    """A format that other tools load a student in.

    `tolerance` is how far a margin of an export may be from the student's own, `read_by` what reads it back, `library`
    the name that the hub has for what loads it.
    """

    tolerance: float = 1e-3
    read_by: str
    library: str
    thinking = False  # whether a student that reasons before its verdict fits,
    graded = False  # one whose score is the mean of its grades,
    encoders = False  # and a cross-encoder, which writes nothing

    def check(self, student: ExportedStudent) -> None:
        """Raise InputError, with the nearest that works, for a thinking or graded student that it cannot hold."""
        if not student.form.writes and not self.encoders:
            raise InputError(
                f"{student.folder}: is a cross-encoder, which this format does not hold; export it --to cross-encoder "
                "or onnx, or give its folder to what loads classifiers of one logit"
            )
        if student.target == "think" and not self.thinking:
            raise InputError(
                f"{student.folder}: its target is think, so it reasons before the verdict, and this format reads the "
                f"verdict without a reasoning; {NEAREST}"
            )
        if len(student.form.verdicts) != 2 and not self.graded:
            raise InputError(
                f"{student.folder}: its prompt {student.form.prompt} has {len(student.form.verdicts)} grades, and its "
                f"score is their mean, which one logit cannot hold; {GRADES}"
            )

    @abstractmethod
    def write(self, student: ExportedStudent, out: Path) -> None:
        """Write the files into `out`. Raises InputError for a student that the format cannot hold."""

    @abstractmethod
    def margins(self, student: ExportedStudent, out: Path, pairs: Sequence[Pair]) -> list[float]:
        """Each pair's margin, by what `write` has written, read as its servers do, in float32 where that is a choice.

        Raises ConfigError where what reads it is not installed.
        """

    @abstractmethod
    def serve(self, student: ExportedStudent, folder: Path | str) -> str:
        """The command, or the lines of Python, that serve the folder."""

    @abstractmethod
    def use(self, student: ExportedStudent) -> str:
        """How to serve it, in Markdown, for the card."""


def student_of(folder: Path) -> ExportedStudent:
    """The student of a folder. Raises InputError as `form_of` does, and for a retriever."""
    refuse_retriever(str(folder))
    target = note_of(str(folder)).get("target")
    form = encoder_format(str(folder)) if is_encoder(str(folder)) else form_of(str(folder))
    return ExportedStudent(folder, form, str(target) if target else None)


def check_pairs(form: StudentFormat) -> list[Pair]:
    """`TEXTS` pairs that fit the student's context, every fourth with an instruction, among them awkward texts.

    Raises InputError where none fits.
    """
    made = []
    for number in range(4 * TEXTS):
        awkward = AWKWARD[number % len(AWKWARD)]
        query = SUBJECTS[number % len(SUBJECTS)] if number % 5 else f"{SUBJECTS[number % 4]} {awkward}"
        passage = f"{awkward} {'and so on ' * (number % 7)}number {number}" if number % 3 else f"{number} {awkward}"
        note = f"Only {number}, no {awkward}" if number % 4 == 3 else None
        made.append(make_pair(str(number), "0", query, passage, note))
    rows = [prompt.rows[0] for prompt in form.prompts(made, -(10**9))]
    suffix = len(form.close) + form.writes
    fitting = [pair for pair, row in zip(made, rows, strict=True) if len(row) + suffix <= form.context]
    if not fitting:
        raise InputError(f"its context of {form.context} tokens holds none of the texts of the check")
    return fitting[:TEXTS]


def check_rows(form: StudentFormat, pairs: Sequence[Pair]) -> list[list[int]]:
    """What the student reads of each pair: its prompt, the reasoning closed."""
    return [prompt.rows[0] + form.close for prompt in form.prompts(pairs, len(form.close))]


def own_margins(student: ExportedStudent, pairs: Sequence[Pair]) -> list[float]:
    """The student's margins by its own prompt, read without a reasoning, uncalibrated, in float32."""
    own = Reranker(
        str(student.folder), "direct", "transformers", dtype="float32", prompt=student.form.prompt, calibration=None
    )
    try:
        return [judgement.margin for judgement in own.predict(pairs)]
    finally:
        own.close()
