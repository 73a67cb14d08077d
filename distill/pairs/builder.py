"""The steps of making a run's pairs: what was judged, mined negatives, the teacher's queries, grades and instructions.

Called by `distill.pairs.build`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path

from distill.errors import ConfigError, DataError
from distill.pairs.bm25 import Bm25
from distill.pairs.clean import Leaks, Usable
from distill.pairs.collection import Collection, gather
from distill.pairs.generation.settings import JudgeSettings
from distill.pairs.negatives import Miner, check_miners, described, same_queries
from distill.pairs.pair_map import PairMap
from distill.pairs.settings import NegativeSettings, PairSettings
from distill.pairs.sources import check_split, open_source
from distill.pairs.split import part_of_each, parted
from distill.records import Ask, Pair, make_pair
from distill.tables import counted_phrase
from distill.texts import is_the_query

JUDGED = 50_000  # pairs whose grades are asked for together


class PairBuilder:
    """One run's pairs: every step adds to `pairs`, and counts in `counts` what it makes and what it leaves out."""

    def __init__(
        self,
        settings: PairSettings,
        seed: int,
        folder: Path,
        base: Path | None = None,
        ask: Ask | None = None,
        held_out: Mapping[str, Iterable[str]] | None = None,
        say: Callable[[str], None] = lambda text: None,
        known: Mapping[str, str] | None = None,
    ) -> None:
        """Raises ConfigError where the settings need a teacher and there is none."""
        if settings.asks and ask is None:
            raise ConfigError("pairs: judge, synthesize, instructions and poison need a teacher to ask")
        self.settings, self.seed, self.folder, self.base, self.ask, self.say = settings, seed, folder, base, ask, say
        self.known = known
        self.leaks = Leaks(held_out or {}, settings.clean.decontaminate)
        self.counts: dict[str, Counter[str]] = {}
        self.pairs = PairMap()
        self._first: dict[tuple[str, str], str] = {}  # (query, text that is there twice) -> its pair
        self._query: tuple[str | None, tuple[str, str | None, str]] = (None, ("", None, ""))  # of the last pair
        self._contradictory: set[tuple[str, str]] = set()  # of those, with two grades
        self.data = self._load()
        self.usable = Usable(self.data, settings.clean)

    def _load(self) -> Collection:
        split = self.settings.split
        source = open_source(self.settings, self.folder, self.base)
        if isinstance(split, str):
            if "split" in self.settings.model_fields_set:
                check_split(source, split, "pairs")
            return gather(source, split, self.settings.missing)
        whole = gather(source, self.settings.qrels, self.settings.missing)
        return parted(whole, split, self.seed, known=self.known)

    @cached_property
    def bm25(self) -> Bm25:
        """One index for the round trip and the mining."""
        return Bm25(self.data.passages, self.settings.language)

    def tally(self, name: str) -> Counter[str]:
        """The counts of one step."""
        return self.counts.setdefault(name, Counter())

    # --- queries -------------------------------------------------------------------------------------------------

    def synthesize(self) -> None:
        """Queries by the teacher; with each its passage, as a positive."""
        from distill.pairs.generation.synthesize import write_queries

        settings, judge = self.settings.synthesize, self._judge()
        assert settings is not None and self.ask is not None
        written = write_queries(
            self.data.passages, self.usable, settings, judge, self.ask, self.seed, lambda: self.bm25,
            self.settings.language, self.tally("synthesize"),
        )  # fmt: skip
        if not written:
            raise DataError(f"{self.folder}: no query that the teacher wrote came back to its passage; see the counts")
        queries = {query.query_id: query.text for query in written}
        shares = self.settings.split if isinstance(self.settings.split, dict) else {"train": 1.0}
        together = {query.query_id: query.doc_id for query in written}
        where = part_of_each(queries, shares, self.seed, together, self.known)
        grades = {query.query_id: query.grade or judge.relevant_from for query in written}
        self.tally("synthesize")["kept"] = len(written)
        self.data = replace(
            self.data,
            queries={**self.data.queries, **queries},
            qrels={**self.data.qrels, **{query.query_id: {query.doc_id: grades[query.query_id]} for query in written}},
            split_of={**self.data.split_of, **where},
        )
        for query in written:
            self.add(query.query_id, query.doc_id, f"synthesized:{query.kind}", grades[query.query_id], "teacher")

    def chosen(self) -> list[str]:
        """The queries that pairs are made of: of the parts asked about, and of all parts where the teacher wrote them.

        Those that copy a held-out query are left out.
        """
        wanted = None if self.settings.synthesize else set(self.settings.ask)
        chosen: list[str] = []
        of_part: dict[str, list[str]] = {}
        for query_id in self.data.queries:
            of_part.setdefault(self.data.part_of(query_id), []).append(query_id)
        for part, members in sorted(of_part.items()):
            if wanted is not None and part not in wanted:
                continue
            queries = sorted(members)
            if self.settings.queries is not None:
                rng = random.Random(f"queries:{self.seed}" if part == "train" else f"queries:{self.seed}:{part}")
                queries = sorted(rng.sample(queries, min(self.settings.queries, len(queries))))
            chosen += queries
        if not self.settings.clean.decontaminate:
            return chosen
        data, leaks = self.data, self.leaks
        clean = [q for q in chosen if data.part_of(q) != "train" or leaks(data.queries[q]) is None]
        if len(clean) < len(chosen):
            self.tally("clean")["queries of evaluation sets"] += len(chosen) - len(clean)
            leaked = set(chosen) - set(clean)
            for key, pair in self.pairs.items():
                if pair.query_id in leaked:
                    del self.pairs[key]
        return clean

    # --- pairs ---------------------------------------------------------------------------------------------------

    def add(
        self,
        query_id: str,
        doc_id: str,
        source: str,
        label: float | None = None,
        label_origin: str | None = None,
        suspected: str | None = None,
    ) -> None:
        """One pair of the collection's texts, unless its texts are unusable or leaked; equal texts are one pair."""
        data = self.data
        if query_id != self._query[0]:
            of_query = data.queries[query_id], data.instructions.get(query_id), data.part_of(query_id)
            self._query = query_id, of_query
        query, instruction, part = self._query[1]
        pair = make_pair(
            query_id, doc_id, query, data.passages[doc_id], instruction, split=part,
            source=source, label=label, label_origin=label_origin, suspected=suspected, language=self._language,
            relevant_from=self.settings.relevant_from,
        )  # fmt: skip
        reason = self.usable.bad.get(doc_id) or ("empty" if not pair.query else None)
        own = not self.settings.self_retrieval and is_the_query(query_id, pair.query, doc_id, pair.passage)
        if own and not pair.relevant:
            reason = "the query itself"
        if reason:
            self.tally("clean")[reason] += 1
        elif pair.split == "train" and self.leaks(pair.passage) is not None:
            self.tally("clean")["passages of evaluation sets"] += 1
        else:
            self.put(pair, self.usable.text_of.get(doc_id))

    def put(self, pair: Pair, text: str | None = None) -> None:
        """Keep the pair, or list it as the duplicate of the one there is; of two judgements the higher grade counts.

        `text` is the first passage of this one's text, case and punctuation apart, where there are several.
        """
        key = self._first.setdefault((pair.query_id, text), pair.pair_id) if text is not None else pair.pair_id
        if self.pairs.add(key, pair):
            return
        first = self.pairs[key]
        self.tally("clean")["duplicates"] += 1
        kept, other = first, pair
        if first.label_origin == pair.label_origin == "judged" and first.label != pair.label:
            self._contradictory.add((pair.query_id, text or ""))
            self.tally("labels")["contradictory"] = len(self._contradictory)
            kept, other = (pair, first) if (pair.label or 0) > (first.label or 0) else (first, pair)
        if kept.pair_id != key:
            del self.pairs[key]
            self._first[pair.query_id, text or ""] = kept.pair_id
        self.pairs[kept.pair_id] = replace(kept, duplicate=other.doc_id)

    @property
    def _language(self) -> str | None:
        return None if self.settings.language == "none" else self.settings.language

    def judged(self, queries: list[str]) -> None:
        """What the source says: its grades, and the pairs that it lists without one."""
        for query_id in queries:
            if query_id in self._synthesized:
                continue
            for doc_id, grade in sorted(self.data.qrels.get(query_id, {}).items()):
                if doc_id in self.data.passages:
                    self.add(query_id, doc_id, "qrels", grade, "judged")
            for doc_id in sorted(self.data.unlabelled.get(query_id, ())):
                self.add(query_id, doc_id, "unlabelled")
        self._check_empty()
        self._contradictions(queries)

    def _check_empty(self) -> None:
        """Raise DataError where more of the pairs than the share `missing` have an empty query or passage."""
        left_out, allowed = self.tally("clean"), self.settings.missing
        of = len(self.pairs) + sum(left_out.values())
        if left_out["empty"] > max(1, allowed * of):
            raise DataError(
                f"{self.folder}: {left_out['empty']:,} of {of:,} pairs have an empty query or passage; mend them, or "
                f"take the rows out (the setting missing allows a share of {allowed:g})"
            )

    def _contradictions(self, queries: list[str]) -> None:
        """Count the texts of passages judged differently for queries that are one but for case and punctuation.

        Of what one query judges differently itself, which is counted as `contradictory`, the higher grade is compared.
        """
        twins = same_queries(self.data)
        grades: dict[tuple[str, str], set[float]] = {}
        for query_id in (query_id for query_id in queries if query_id in twins):
            highest: dict[str, float] = {}
            for doc_id, grade in self.data.qrels.get(query_id, {}).items():
                if doc_id in self.data.passages and doc_id not in self.usable.bad:
                    text = self.usable.text_of.get(doc_id, doc_id)
                    highest[text] = max(grade, highest.get(text, 0))
            for text, grade in highest.items():
                grades.setdefault((twins[query_id][0], text), set()).add(grade)
        if differing := sum(len(different) > 1 for different in grades.values()):
            self.tally("labels")["contradictory for queries equal but for case and punctuation"] = differing

    @cached_property
    def _synthesized(self) -> set[str]:
        return {pair.query_id for pair in self.pairs.values() if pair.source.startswith("synthesized")}

    def mine(self, queries: list[str]) -> None:
        """Negatives, where they are asked for, or where nothing else says what is not relevant."""
        settings, why = self._negatives()
        if settings is None:
            self.say(f"negatives: none mined, since {why}")
            return
        check_miners(settings, self.data.listed)
        miner = Miner(
            self.data, self.usable, settings, self.seed, self.base or self.folder, lambda: self.bm25,
            self.settings.self_retrieval, self.settings.missing,
        )  # fmt: skip
        mined = 0
        for negative in miner(queries):
            mined += 1
            self.add(negative.query_id, negative.doc_id, negative.source, 0, "assumed", negative.suspected)
        self.tally("mine").update(miner.counts)
        left_out = "".join(
            f"; {counted_phrase(count, reason)}" for reason, count in sorted(miner.counts.items()) if count
        )
        self.say(f"negatives: {mined:,} mined by {described(settings)}, since {why}{left_out}")

    def _negatives(self) -> tuple[NegativeSettings | None, str]:
        """How negatives are mined, if at all, and why."""
        settings = self.settings.negatives
        if settings is not None:
            asked = settings.per_query > 0
            return (settings, "pairs.negatives asks for them") if asked else (None, "pairs.negatives is none")
        if any(pair.relevant is False for pair in self.pairs.values()):
            return None, "the source has pairs judged not relevant (pairs.negatives is null)"
        if any(pair.label is None for pair in self.pairs.values()):
            return None, "the source lists pairs without a label (pairs.negatives is null)"
        return NegativeSettings(), "the source has no pair judged not relevant (pairs.negatives is null)"

    # --- the teacher ---------------------------------------------------------------------------------------------

    def _judge(self) -> JudgeSettings:
        return self.settings.judge or JudgeSettings(samples=1)

    def judge(self) -> None:
        """Grades for what was mined, and for what the source lists without one."""
        settings, counts = self._judge(), self.tally("judge")
        pairs = (
            (key, pair)
            for key, pair in self.pairs.sorted_items()
            if ("mined" in settings.of and pair.label_origin == "assumed")
            or ("unlabelled" in settings.of and pair.label is None)
        )
        while due := dict(islice(pairs, JUDGED)):
            self._graded(due, settings, counts)

    def _graded(self, due: Mapping[str, Pair], settings: JudgeSettings, counts: Counter[str]) -> None:
        from distill.pairs.generation.judge import grades

        assert self.ask is not None
        items = ((key, (pair.query, pair.instruction, pair.passage)) for key, pair in due.items())
        for key, grade in grades(self.ask, settings, items, counts).items():
            if grade is None:
                continue
            pair, relevant = due[key], grade >= settings.relevant_from
            counts[f"grade {grade}"] += 1
            if relevant and pair.label is not None and settings.relevant != "relabel":
                if settings.relevant == "drop":
                    del self.pairs[key]
                else:
                    self.pairs[key] = replace(pair, suspected=f"the teacher grades it {grade}")
                continue
            self.pairs[key] = replace(
                pair, label=grade, label_origin="teacher", relevant_from=settings.relevant_from,
                label_before=pair.label if pair.label != grade else pair.label_before,
            )  # fmt: skip

    def unlabelled(self) -> int:
        """How many pairs have no label; they are taken out, and counted, where the settings say so."""
        without = [key for key, pair in self.pairs.items() if pair.label is None]
        if self.settings.unlabelled == "drop" and without:
            self.tally("clean")["without a label"] += len(without)
            for key in without:
                del self.pairs[key]
        return len(without)

    def instruct(self) -> None:
        """Instructions, the passages that fail them, poisoned requests."""
        from distill.pairs.generation.instruct import instruction_pairs, poisoned, write_instructions

        settings, judge, counts = self.settings.instructions, self._judge(), self.tally("instructions")
        assert settings is not None and self.ask is not None
        pairs = list(self.pairs.values())
        instructed = write_instructions(pairs, settings, judge, self.ask, self.seed, counts)
        rows = instruction_pairs(instructed, pairs, settings, judge, self.ask, self.seed, counts)
        if self.settings.poison:
            rows += poisoned(instructed, self.settings.poison, judge, self.ask, self.seed, self.tally("poison"))
        for row in rows:
            self.put(replace(row, language=self._language))
