"""What a configuration may say under `pairs`, and how any stage names a source of data."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from distill.config import Settings
from distill.files.gaps import MISSING
from distill.pairs.analysis import LANGUAGES
from distill.pairs.generation.settings import InstructionSettings, JudgeSettings, PoisonSettings, SynthesisSettings
from distill.pairs.sources import SOURCES
from distill.plugins import is_external
from distill.tables import counted


class MinerSettings(Settings):
    """One way to find passages that nobody judged. Ranks count all passages, known ones included.

    `bm25`; `run`: the user's TREC run at `path`; `dense`: a sentence-transformers model (folder or hub name);
    `listed`: hard negatives that the source lists; `random`. `share` is this miner's part where several are mixed.
    """

    miner: Literal["bm25", "run", "dense", "listed", "random"] = Field(
        "bm25",
        description="bm25; run: the TREC run at path; dense: the sentence-transformers model; listed: hard negatives "
        "of the source; random",
    )
    first: int = Field(1, ge=1, description="the first rank that is taken, counted from 1, known passages included")
    last: int = Field(50, ge=1, description="the last rank that is taken")
    path: str | None = Field(None, description="miner run: a TREC run, gzipped or not; default: none")
    model: str | None = Field(None, description="miner dense: a sentence-transformers model; default: none")
    share: float = Field(
        1.0, gt=0, description="this miner's part where several are mixed, as a weight against the others'"
    )

    @model_validator(mode="after")
    def _whole(self) -> MinerSettings:
        if self.last < self.first:
            raise ValueError(f"ranks {self.first} to {self.last} hold nothing")
        if self.miner == "run" and not self.path:
            raise ValueError("miner run needs path, a TREC run")
        if self.miner == "dense" and not self.model:
            raise ValueError("miner dense needs model, the name of a sentence-transformers model")
        return self


class NegativeSettings(MinerSettings):
    """Passages that nobody judged, taken as not relevant: `per_query` of them, from one miner or a `mix` of several.

    Where a miner has too few for a query the others fill in. A mined passage whose score is above `suspect_above` times
    that of the query's best known positive in the same list is suspected of being relevant (NV-Retriever's
    positive-aware rule): `suspected` says whether it is flagged (the column `suspected`) or left out.
    """

    per_query: int = Field(4, ge=0, description="0, for which `negatives: none` is short: none are mined")
    mix: list[MinerSettings] = Field(
        [], description="several miners, each with its share; default: the one that is named here"
    )
    suspect_above: float | None = Field(None, gt=0, description="such as 0.95; default: nothing is suspected by score")
    suspected: Literal["flag", "drop"] = Field(
        "flag", description="what becomes of a suspected passage: flag writes the column suspected, drop leaves it out"
    )

    @model_validator(mode="after")
    def _range(self) -> NegativeSettings:
        if not self.mix and self.miner != "listed" and self.last - self.first + 1 < self.per_query:
            raise ValueError(f"ranks {self.first} to {self.last} hold fewer than {counted(self.per_query, 'passage')}")
        return self

    @property
    def miners(self) -> list[MinerSettings]:
        """The miners that are mixed; without a mix, the one that is named."""
        own = self.model_dump(include=set(MinerSettings.model_fields))
        return self.mix or [MinerSettings(**{**own, "share": 1.0})]


class CleanSettings(Settings):
    """What is taken out before anything is asked; each is counted.

    Passages equal in all but case, punctuation and spaces are one; a passage nearly equal to a positive of the same
    query is never its negative.
    """

    max_words: int | None = Field(
        None, ge=1, description="longer passages are neither asked about nor mined; default: no bound"
    )
    languages: list[str] = Field([], description="codes; texts surely in another language are left out")
    near_duplicates: float | None = Field(
        None,
        ge=0.6,
        le=1,
        description="similarity from which only the first of two passages is mined, such as 0.8; default: off",
    )
    decontaminate: bool | list[str] = Field(
        False, description="leave out what is also in evaluation sets: true for all, or their names"
    )

    @field_validator("languages", mode="before", json_schema_input_type=str | list[str])
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class ClickSettings(Settings):
    """How clicks in a table become labels (`distill.pairs.clicks`).

    A pair's lift is its rate of clicks over that of all that was shown at its positions, smoothed by `smoothing`
    imaginary impressions: grade 1 from `relevant_from` on, 2 from `very_relevant_from` on, 0 below
    `not_relevant_below`; no label between them, nor with fewer impressions than `least_impressions`, nor where too
    little else was shown at its positions. Grade 1 needs `least_clicks` clicks, and more than a passage whose lift is
    `relevant_from` has by chance with `confidence` (binomial); grade 0 needs as many expected clicks. In a table
    without impressions `least_clicks` clicks make grade 1, and fewer say nothing.
    """

    least_impressions: int = Field(10, ge=1, description="impressions below which a pair gets no label")
    smoothing: float = Field(
        10.0, ge=0, description="imaginary impressions that pull a rate of clicks towards that of its positions"
    )
    not_relevant_below: float = Field(0.5, ge=0, description="lift below which the grade is 0")
    relevant_from: float = Field(1.0, gt=0, description="lift from which the grade is 1")
    very_relevant_from: float | None = Field(
        2.0, gt=0, description="lift from which the grade is 2; null: there is no grade 2"
    )
    least_clicks: int = Field(3, ge=1, description="clicks that grade 1 needs; grade 0 needs as many expected ones")
    confidence: float = Field(
        0.9,
        ge=0,
        lt=1,
        description="chance that a passage at `relevant_from` has fewer clicks than one of grade 1; 0: not asked",
    )

    @model_validator(mode="after")
    def _rising(self) -> ClickSettings:
        if not self.not_relevant_below <= self.relevant_from <= (self.very_relevant_from or self.relevant_from):
            raise ValueError("not_relevant_below, relevant_from and very_relevant_from rise")
        return self


class DataSettings(Settings):
    """A source of passages, queries and labels.

    `path` is a folder or a file, a Hugging Face dataset's name, or an ir_datasets ID. `files` names the parts where
    a source has several; `columns` says what the source calls query, passage, label, query_id, doc_id, title,
    instruction, split, clicks, impressions, position. `split` names a file of qrels, or gives shares by query of the
    only one, such as `{train: 0.8, test: 0.2}`: then `train` is asked about, and an evaluation set names another key.
    """

    source: str = Field(
        "beir",
        description="beir, example, huggingface, ir_datasets, table, tevatron, texts, trec, or FILE.py:Class",
    )
    path: str = Field(
        "",
        description="a folder or file (relative to the configuration), a dataset's name or an ir_datasets ID",
    )
    files: dict[str, str] = Field(
        {},
        description="the parts where a source has several, such as {queries: q.tsv, corpus: c.tsv} of trec",
    )
    columns: dict[str, str] = Field(
        {},
        description="what the source calls query, passage, label, query_id, doc_id, title, instruction, split, clicks, "
        "impressions, position",
    )
    ids: Literal["given", "text"] = Field("given", description="text: made from the texts, in a table or tevatron")
    split: str | dict[str, float] = Field(
        "train", description="a qrels file's name, or shares by query such as {train: 0.8, test: 0.2}"
    )
    qrels: str | None = Field(
        None, description="which qrels file is split by shares, where there are several; default: the only one"
    )
    clicks: ClickSettings = Field(ClickSettings(), description="how clicks in a table become labels")
    missing: float = Field(MISSING, ge=0, lt=1, description="the share of labels and lists that may name no text")
    language: str = Field("en", description=f"of BM25's analysis: one of {', '.join(LANGUAGES)}")
    cut_words: int | None = Field(
        None,
        ge=1,
        description="longer passages are read up to so many words, those of evaluation sets too; default: whole",
    )
    passage_words: int = Field(120, ge=10, description="source texts: about so many words a passage")

    @field_validator("source")
    @classmethod
    def _is_a_source(cls, source: str, info: ValidationInfo) -> str:
        return SOURCES.check_name(source, (info.context or {}).get("base"))

    @field_validator("language")
    @classmethod
    def _known(cls, language: str) -> str:
        if language not in LANGUAGES:
            raise ValueError(f"known are {', '.join(LANGUAGES)}; none takes words as they are")
        return language

    @field_validator("split")
    @classmethod
    def _shares(cls, split: str | dict[str, float]) -> str | dict[str, float]:
        if isinstance(split, dict):
            if "train" not in split:
                raise ValueError("the shares need a part named train, which is asked about")
            if min(split.values()) <= 0 or abs(sum(split.values()) - 1) > 1e-6:
                raise ValueError("the shares of a split are above 0 and add up to 1")
        return split

    @model_validator(mode="after")
    def _has_path(self) -> DataSettings:
        needless = self.source == "example" or is_external(self.source)
        if not needless and not self.path and not (self.files and self.source in ("trec", "table")):
            raise ValueError(f"source {self.source} needs a path")
        return self


class PairSettings(DataSettings):
    """Which pairs are made, from what.

    `negatives` says how passages that nobody judged are mined as not relevant; `none` mines none; without it (`null`)
    they are mined with the defaults where the source has no pair that is judged not relevant or listed without a label.
    `ask` names the parts that are asked about; only `train` is trained on. A passage that is the query itself (ArguAna,
    Quora) is never its negative, unless `self_retrieval` wants it.
    """

    ask: list[str] = Field(
        ["train"],
        min_length=1,
        description="the parts of the split that the teacher is asked about; only train is trained on",
    )
    unlabelled: Literal["ask", "drop"] = Field(
        "ask", description="pairs without a label: asked about, and trained on by the teacher's verdict, or left out"
    )
    relevant_from: int = Field(1, ge=1, description="the lowest grade that counts as relevant")
    negatives: NegativeSettings | None = Field(
        None,
        description="passages that nobody judged, mined as not relevant; none: none are mined; default: mined where "
        "the source has no negatives",
    )
    self_retrieval: bool = Field(False, description="whether a passage that is the query itself may be its negative")
    queries: int | None = Field(None, ge=1, description="at most so many queries, drawn with the seed; default: all")
    clean: CleanSettings = Field(CleanSettings(), description="what is taken out before anything is asked")
    synthesize: SynthesisSettings | None = Field(
        None, description="the teacher writes queries for drawn passages; default: it writes none"
    )
    judge: JudgeSettings | None = Field(
        None, description="the teacher grades passages that nobody judged; default: it grades none"
    )
    instructions: InstructionSettings | None = Field(
        None, description="the teacher writes instructions and passages that fail them; default: it writes none"
    )
    poison: PoisonSettings | None = Field(
        None, description="negatives with an altered instruction or query; needs instructions; default: none are made"
    )
    example: dict[str, Any] = Field(default_factory=dict, description="settings of the embedded world")

    @property
    def miners(self) -> list[MinerSettings]:
        """The miners that `negatives` names."""
        return self.negatives.miners if self.negatives else []

    @property
    def asks(self) -> bool:
        """Whether the teacher is asked while pairs are made."""
        return any((self.synthesize, self.judge, self.instructions, self.poison))

    @field_validator("negatives", mode="before", json_schema_input_type=Literal["none"] | NegativeSettings | None)
    @classmethod
    def _none(cls, value: object) -> object:
        return {"per_query": 0} if value == "none" else value

    @model_validator(mode="after")
    def _possible(self) -> PairSettings:
        if self.source == "texts" and self.synthesize is None:
            raise ValueError("source texts has no queries; say under synthesize how the teacher writes some")
        if self.poison and not self.instructions:
            raise ValueError("poison alters instructions and queries of instructed pairs; it needs instructions")
        known = set(self.split) if isinstance(self.split, dict) else {"train"}
        for name in self.ask:
            if name not in known:
                raise ValueError(f"ask: {name!r} is no part of the split; there is {', '.join(sorted(known))}")
        return self
