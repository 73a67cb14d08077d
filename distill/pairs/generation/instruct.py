"""Instructions for pairs, passages that fail them, and poisoned requests: each written by the teacher, and checked.

After Promptriever (arXiv 2409.11136), FollowIR (2403.15246) and InF-IR (2505.21439): an instruction must make a
difference, so each instructed positive comes with passages that suit the query and fail the instruction, and the same
passage under an altered instruction or query.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from distill.pairs.generation.judge import Asking, grades
from distill.pairs.generation.prompting import filled, read_json, read_text, read_texts
from distill.pairs.generation.questions import contents
from distill.pairs.generation.settings import InstructionSettings, JudgeSettings, PoisonSettings
from distill.records import Ask, Pair, digest, make_pair

LENGTH_WORDS = {
    "short": "one sentence of at most ten words",
    "medium": "one or two sentences",
    "long": "three or four sentences",
    "very_long": "a paragraph of six to eight sentences",
}
STYLE_WORDS = {
    "plain": "say directly what a result must hold",
    "negation": "say what must not be in a result, or which results do not count",
    "background": "describe the situation from which the demand follows",
    "persona": "say who is asking, in the first person, and what that person needs for it",
}
LONGEST = 4000  # characters of an instruction


@dataclass(frozen=True, slots=True)
class Instructed:
    """A positive with an instruction that it satisfies."""

    pair: Pair  # the positive, without the instruction
    instruction: str
    grade: int

    @property
    def key(self) -> tuple[str, str]:
        """What its rows are distinguished by."""
        return self.pair.pair_id, self.instruction


def write_instructions(
    pairs: Sequence[Pair],
    settings: InstructionSettings,
    judge: JudgeSettings,
    ask: Ask,
    seed: int,
    counts: Counter[str],
) -> list[Instructed]:
    """Instructions for the drawn positives that still satisfy them. Counted: `written`, `unreadable`, `unsatisfied`."""
    positives = sorted((p for p in pairs if p.relevant and p.instruction is None), key=lambda p: p.pair_id)
    rng = random.Random(f"instructions:{seed}")
    chosen = rng.sample(positives, round(settings.share * len(positives)))
    prompts = []
    for pair in sorted(chosen, key=lambda p: p.pair_id):
        draw = random.Random(f"instruction:{seed}:{pair.pair_id}")
        length, style = LENGTH_WORDS[draw.choice(settings.lengths)], STYLE_WORDS[draw.choice(settings.styles)]
        text = filled("instruction", length=length, style=style, query=pair.query, passage=pair.passage)
        prompts.append((pair, text))
    drafts: list[tuple[Pair, str]] = []
    for pair, texts in contents(ask, settings, "instruction", prompts, counts).items():
        instructions = dict.fromkeys(i for text in texts if (i := read_text(text, "instruction", LONGEST)))
        counts["unreadable"] += not instructions
        drafts += [(pair, instruction) for instruction in instructions]
    counts["written"] += len(drafts)
    grade_of = grades(ask, judge, (((p, i), (p.query, i, p.passage)) for p, i in drafts), counts, "instruction check")
    kept = []
    for pair, instruction in drafts:
        grade = grade_of[pair, instruction]
        if grade is None or grade < judge.relevant_from:
            counts["unsatisfied"] += 1
        else:
            kept.append(Instructed(pair, instruction, grade))
    return kept


def instruction_pairs(
    made: Sequence[Instructed],
    pairs: Sequence[Pair],
    settings: InstructionSettings,
    judge: JudgeSettings,
    ask: Ask,
    seed: int,
    counts: Counter[str],
) -> list[Pair]:
    """The instructed positives, with the passages that fail each instruction and the query's plain negatives.

    `instruction_mined`: other positives of the query that the teacher finds to fail; `instruction_negative`: passages
    that it wrote to fail, found to suit the query and to fail the instruction; `instruction_easy`: negatives of the
    query alone. Counted: what was found unfit.
    """
    of_query: dict[str, list[Pair]] = defaultdict(list)
    for pair in sorted(pairs, key=lambda p: p.pair_id):
        if pair.instruction is None:
            of_query[pair.query_id].append(pair)
    rows = [_row(each, each.pair.doc_id, each.pair.passage, each.grade, "instruction_positive", judge) for each in made]
    mined = [
        (each, other) for each in made for other in _others(each, of_query[each.pair.query_id], settings.mined, seed)
    ]
    items: list[Asking[object]] = [
        ((each.key, other.doc_id), (each.pair.query, each.instruction, other.passage)) for each, other in mined
    ]
    grade_of = grades(ask, judge, items, counts, "instruction negative")
    for each, other in mined:
        grade = grade_of[each.key, other.doc_id]
        if grade is not None:
            source = "instruction_mined" if grade < judge.relevant_from else "instruction_positive"
            rows.append(_row(each, other.doc_id, other.passage, grade, source, judge))
    rows += _written(made, settings, judge, ask, counts)
    for each in made:
        plain = [p for p in of_query[each.pair.query_id] if p.relevant is False]
        draw = random.Random(f"easy:{seed}:{each.pair.pair_id}")
        for other in draw.sample(plain, min(settings.easy, len(plain))):
            rows.append(_row(each, other.doc_id, other.passage, 0, "instruction_easy", judge, "assumed"))
    return rows


def _written(
    made: Sequence[Instructed], settings: InstructionSettings, judge: JudgeSettings, ask: Ask, counts: Counter[str]
) -> Iterator[Pair]:
    if not settings.written:
        return
    prompts = [
        (
            each,
            filled(
                "failing",
                count=settings.written,
                query=each.pair.query,
                instruction=each.instruction,
                passage=each.pair.passage,
            ),
        )
        for each in made
    ]
    drafts: list[tuple[Instructed, str]] = []
    for each, texts in contents(ask, settings, "failing passages", prompts, counts).items():
        passages = list(dict.fromkeys(p for text in texts for p in read_texts(text, "passages")))[: settings.written]
        counts["no passage"] += not passages
        drafts += [(each, passage) for passage in passages]
    counts["passages written"] += len(drafts)
    items: list[Asking[object]] = []
    for each, passage in drafts:
        items.append(((each.key, passage, "alone"), (each.pair.query, None, passage)))
        items.append(((each.key, passage, "instructed"), (each.pair.query, each.instruction, passage)))
    grade_of = grades(ask, judge, items, counts, "instruction negative")
    for each, passage in drafts:
        alone, instructed = grade_of[each.key, passage, "alone"], grade_of[each.key, passage, "instructed"]
        if alone is None or instructed is None:
            continue
        if alone < judge.relevant_from:
            counts["passages off topic"] += 1
        elif instructed >= judge.relevant_from:
            counts["passages that do not fail"] += 1
        else:
            doc_id = f"{each.pair.doc_id}+{digest(passage)[:8]}"
            yield _row(each, doc_id, passage, instructed, "instruction_negative", judge)


def _others(each: Instructed, pairs: Iterable[Pair], most: int, seed: int) -> list[Pair]:
    """Other positives of the query, drawn: what an instruction tells apart is best seen on them."""
    others = [pair for pair in pairs if pair.relevant and pair.doc_id != each.pair.doc_id]
    return random.Random(f"mined:{seed}:{each.pair.pair_id}").sample(others, min(most, len(others)))


def poisoned(
    made: Sequence[Instructed],
    settings: PoisonSettings,
    judge: JudgeSettings,
    ask: Ask,
    seed: int,
    counts: Counter[str],
) -> list[Pair]:
    """The same passage under an altered instruction or query, where the teacher finds that plausible and unmet.

    Counted: `altered`, `implausible`, `still satisfied`, `unreadable`.
    """
    rng = random.Random(f"poison:{seed}")
    chosen = [each for each in made if rng.random() < settings.share]
    prompts = [
        (
            (each, what),
            filled(
                f"alter_{what}",
                query=each.pair.query,
                instruction=each.instruction,
                passage=each.pair.passage,
            ),
        )
        for each in chosen
        for what in settings.of
    ]
    drafts: list[tuple[Instructed, str, str, str]] = []  # the instructed positive, what was altered, query, instruction
    for (each, altered_part), texts in contents(ask, settings, "poison", prompts, counts).items():
        text = next((t for each_text in texts if (t := read_text(each_text, altered_part, LONGEST))), None)
        before = each.pair.query if altered_part == "query" else each.instruction
        if text is None or text == before:
            counts["unreadable"] += 1
            continue
        counts["altered"] += 1
        query, instruction = (text, each.instruction) if altered_part == "query" else (each.pair.query, text)
        drafts.append((each, altered_part, query, instruction))
    checks = [
        (draft, filled("check_altered", query=draft[2], instruction=draft[3], passage=draft[0].pair.passage))
        for draft in drafts
    ]
    rows = []
    for draft, texts in contents(ask, judge, "poison check", checks, counts).items():
        values = [value for text in texts if (value := read_json(text)) is not None]
        plausible = sum(value.get("plausible") is True for value in values) * 2 > judge.samples
        unmet = sum(value.get("satisfied") is False for value in values) * 2 > judge.samples
        counts["implausible"] += not plausible
        counts["still satisfied"] += plausible and not unmet
        if plausible and unmet:
            each, what, query, instruction = draft
            query_id = f"{each.pair.query_id}+{digest(query)[:8]}" if what == "query" else each.pair.query_id
            altered = replace(each, pair=replace(each.pair, query_id=query_id, query=query), instruction=instruction)
            rows.append(_row(altered, each.pair.doc_id, each.pair.passage, 0, f"poisoned_{what}", judge))
    return rows


def _row(
    each: Instructed, doc_id: str, passage: str, grade: int, source: str, judge: JudgeSettings, origin: str = "teacher"
) -> Pair:
    return make_pair(
        each.pair.query_id, doc_id, each.pair.query, passage, each.instruction, label=grade, label_origin=origin,
        source=source, split=each.pair.split, language=each.pair.language, relevant_from=judge.relevant_from,
    )  # fmt: skip
