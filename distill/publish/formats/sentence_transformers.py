"""sentence-transformers: (query, passage, score) for cross-encoders, (query, positive, negative) for contrastive ones.

Column order and the name `score` are what its trainers go by. Reasoning has no place here; several samples of a pair
are one row, by majority. Holds the passages of all rows in memory, to pair them by query.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

from distill.publish.formats.base import ExportCounts, Files, asked, config
from distill.publish.rows import Kept, hub_split, says_relevant

USE = """\
`load_dataset("{address}", "pairs")` is for `CrossEncoder` training (score 1.0 relevant, 0.0 not),
`load_dataset("{address}", "triplets")` for contrastive losses: each relevant and each other passage of a query is
in at least one triplet. The reasoning is left out.\
"""


def write(kept: Kept, out: Path, name: str) -> ExportCounts:
    """`pairs/{split}.jsonl`, `triplets/{split}.jsonl`."""
    votes: dict[tuple[str, str, str], Counter[int]] = defaultdict(Counter)
    for row in kept.rows():
        votes[hub_split(row.split), asked(row), row.passage][int(says_relevant(row))] += 1
    left_out: Counter[str] = Counter()
    passages: dict[tuple[str, str], tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    with Files(out / "pairs") as pairs:
        for (split, query, passage), verdicts in votes.items():
            if verdicts[1] == verdicts[0]:
                left_out["pairs whose samples are divided evenly"] += 1
                continue
            relevant = verdicts[1] > verdicts[0]
            pairs.add(split, {"query": query, "passage": passage, "score": float(relevant)})
            passages[split, query][0 if relevant else 1].append(passage)
    with Files(out / "triplets") as triplets:
        for (split, query), (positive, negative) in passages.items():
            if not positive or not negative:
                left_out["queries without a triplet: all their passages have one verdict"] += 1
                continue
            for i in range(max(len(positive), len(negative))):
                sides = {"positive": positive[i % len(positive)], "negative": negative[i % len(negative)]}
                triplets.add(split, {"query": query, **sides})
    configs = [config("pairs", pairs.rows, "pairs/{split}.jsonl")]
    if triplets.rows:
        configs.append(config("triplets", triplets.rows, "triplets/{split}.jsonl"))
    return ExportCounts(dict(pairs.rows), configs, USE, dict(left_out))
