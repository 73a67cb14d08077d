"""PyTerrier: a student as a `Transformer`, as in `bm25 % 100 >> PyTerrierReranker(reranker)`. PyTerrier needs Java."""

from __future__ import annotations

from typing import Any

from distill.rerank.adapters import Judge, missing, pairs_of
from distill.texts import passage_text


def rescored(reranker: Judge, frame: Any, text: str = "text") -> Any:
    """A pandas frame with columns qid, query, docno and `text`, rescored: `score` is the log-odds, `rank` counts from 0
    within a query, equal scores by docno, descending, as trec_eval orders them. Columns `title` (joined before the
    text, as in training) and `instruction` are read where they are there.

    Raises ValueError where a column is missing.
    """
    for column in ("qid", "query", "docno", text):
        if column not in frame.columns:
            raise ValueError(f"the column {column!r} is missing; pt.text.get_text() fetches texts")
    texts = frame.reindex(columns=["query", "title", text, "instruction"]).astype(object)
    rows = [
        (query, passage_text(title, body), note)
        for query, title, body, note in texts.where(texts.notna(), None).itertuples(index=False)
    ]
    found = frame.reset_index(drop=True)
    found["score"] = [judgement.margin for judgement in reranker.predict(pairs_of(rows))]
    keys = found[["qid"]].assign(score=found["score"].astype("float32"), docno=found["docno"].astype(str))
    found = found.loc[keys.sort_values(["qid", "score", "docno"], ascending=[True, False, False]).index]
    found["rank"] = found.groupby("qid", sort=False).cumcount()
    return found.reset_index(drop=True)


def PyTerrierReranker(reranker: Judge, text: str = "text") -> Any:
    """The transformer. Raises InputError where PyTerrier is missing."""
    try:
        import pyterrier
    except ImportError as error:
        raise missing("python-terrier", error) from None

    class Reranking(pyterrier.Transformer):
        def transform(self, inp: Any) -> Any:
            return rescored(reranker, inp, text)

    return Reranking()
