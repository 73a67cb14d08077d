"""What clients send: the bodies of Jina's and Cohere's rerank protocols, of vLLM's and TEI's, and of `/v1/explain`.

`instruction`, `return_reasoning` and `score_threshold` are ours. A key that is not known is not an error, since the
protocols grow; it is named in `meta.warnings`, so that a misspelt one does not pass unseen. `answers` makes what is
sent back.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import Annotated, Literal, NamedTuple, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    model_validator,
)

from distill.answers import JsonObject, JsonValue
from distill.texts import clean_text, passage_text

# Parts of the protocols that change nothing here.
WITHOUT_EFFECT = ("max_chunks_per_doc", "rank_fields", "priority", "truncation", "user")
WHOLE = -1  # vLLM's word for a prompt that may fill the context


def _clean(value: object) -> object:
    """A text as `make_pair` has it, before pydantic refuses half a surrogate pair; other values are pydantic's."""
    return clean_text(value) if isinstance(value, str) else value


def _clean_query(value: object) -> object:
    """A query of nothing but such halves asks nothing: it stays as it is, so that pydantic refuses it."""
    return value if isinstance(value, str) and all("\ud800" <= sign <= "\udfff" for sign in value) else _clean(value)


def _clean_title(value: object) -> object:
    return "" if value is None or value != value else _clean(value)


def _one_or_more(value: object) -> object:
    return value if isinstance(value, list) else [value]


Text = Annotated[str, BeforeValidator(_clean)]
Query = Annotated[str, Field(min_length=1), BeforeValidator(_clean_query)]


class Document(BaseModel):
    """A passage as an object; what else it holds is its sender's, and goes back as it came."""

    model_config = ConfigDict(extra="ignore")

    text: Text
    first_stage_score: float | None = Field(
        None, allow_inf_nan=False, description="the score that found it: where the student has a weight, they are fused"
    )
    title: Annotated[str, BeforeValidator(_clean_title)] = ""
    _given: JsonObject = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _kept(cls, value: object, handler: ModelWrapValidatorHandler[Document]) -> Document:
        document = handler(value)
        if isinstance(value, dict):
            document._given = value
        return document

    @property
    def passage(self) -> str:
        """Title and text as in training."""
        return passage_text(self.title, self.text)

    @property
    def given(self) -> JsonObject:
        """The object as it came; NaN and infinities, which JSON cannot hold, as null."""
        return cast(JsonObject, json.loads(json.dumps(self._given), parse_constant=lambda _: None))


Passage = Text | Document


class QueryAndPassage(NamedTuple):
    """One pair of a request, its texts as in training."""

    query: str
    passage: str


class Asked(BaseModel, ABC):
    """What all requests share."""

    model_config = ConfigDict(extra="allow")

    model: str | None = None
    mode: str | None = Field(None, description="if given, the mode that the server was started with")
    instruction: Text | None = Field(None, description="who wants what, in addition to the query; a field of its own")
    max_tokens_per_doc: int | None = Field(None, ge=1, description="a document's first tokens, as the student counts")
    truncate_prompt_tokens: int | None = Field(
        None, ge=WHOLE, description="of the whole prompt: the document is cut so that it has no more; -1: the context"
    )

    budget_ms: float | None = Field(
        None, gt=0, description="milliseconds from arrival to answer: directly first, then thinking where unsure"
    )

    @abstractmethod
    def pairs(self) -> list[QueryAndPassage]:
        """What is to be judged."""

    def warnings(self) -> list[str]:
        """The keys that have no effect."""
        return [
            f"{name} has no effect here" if name in WITHOUT_EFFECT else f"{name} is not known here"
            for name in self.__pydantic_extra__ or {}
        ]


class RerankBody(Asked):
    """`POST /rerank`, `/v1/rerank` and `/v2/rerank`."""

    query: Query
    documents: list[Passage] = Field(min_length=1)
    top_n: int | None = Field(None, ge=1)
    return_documents: bool | None = Field(
        None, description="default: true for /rerank and /v1 as in Jina's, false for /v2"
    )
    return_reasoning: bool = False
    score_threshold: float | None = Field(
        None, allow_inf_nan=False, description="leave out documents whose relevance_score is below it"
    )

    def first_stage_scores(self) -> dict[str, float]:
        """{number of the document: its first-stage score} of those that have one."""
        scores = {
            str(at): each.first_stage_score for at, each in enumerate(self.documents) if isinstance(each, Document)
        }
        return {at: score for at, score in scores.items() if score is not None}

    def pairs(self) -> list[QueryAndPassage]:
        """The query with each document."""
        return [QueryAndPassage(self.query, _passage(each)) for each in self.documents]

    def given(self, at: int) -> JsonValue:
        """A document as it came, a text as an object with `text`."""
        document = self.documents[at]
        return {"text": document} if isinstance(document, str) else document.given


class TextsBody(Asked):
    """`POST /rerank` as Text Embeddings Inference has it."""

    query: Query
    texts: list[Text] = Field(min_length=1)
    raw_scores: bool = Field(False, description="the log-odds in place of the probability")
    return_text: bool = False
    truncate: bool = Field(False, description="the server's own choice for texts that are too long holds (--long)")
    truncation_direction: Literal["Right", "right"] = "Right"

    def pairs(self) -> list[QueryAndPassage]:
        """The query with each text."""
        return [QueryAndPassage(self.query, text) for text in self.texts]


class ScoreBody(Asked):
    """`POST /score` and `/v1/score`, as vLLM has them: one query and many documents, or as many of both."""

    text_1: Annotated[list[Query], BeforeValidator(_one_or_more)] = []
    text_2: Annotated[list[Passage], BeforeValidator(_one_or_more)] = []
    queries: Annotated[list[Query], BeforeValidator(_one_or_more)] = []
    documents: Annotated[list[Passage], BeforeValidator(_one_or_more)] = []

    @model_validator(mode="after")
    def _paired(self) -> ScoreBody:
        if bool(self.text_1 or self.text_2) == bool(self.queries or self.documents):
            raise ValueError("give text_1 and text_2, or queries and documents")
        queries, documents = self._sides
        if not queries or not documents:
            raise ValueError("both sides of a pair are needed: queries and documents (text_1 and text_2)")
        if len(queries) not in (1, len(documents)):
            raise ValueError(
                f"{len(queries)} queries and {len(documents)} documents: give one query, or as many as documents"
            )
        return self

    @property
    def _sides(self) -> tuple[list[str], list[str | Document]]:
        return (self.text_1, self.text_2) if self.text_1 or self.text_2 else (self.queries, self.documents)

    def pairs(self) -> list[QueryAndPassage]:
        """Each document with its query."""
        queries, documents = self._sides
        queries = queries * len(documents) if len(queries) == 1 else queries
        return [QueryAndPassage(query, _passage(each)) for query, each in zip(queries, documents, strict=True)]


class ExplainRequest(Asked):
    """`POST /v1/explain`."""

    query: Query
    document: Passage

    def pairs(self) -> list[QueryAndPassage]:
        """The one pair."""
        return [QueryAndPassage(self.query, _passage(self.document))]


def _passage(document: str | Document) -> str:
    return document if isinstance(document, str) else document.passage
