"""Make sft/estimate/lengths.json: how long prompts and traces are, as counts by bins of tokens; numbers only, no text.

    python benchmarks/sft/lengths.py ../shared/data/traces

Prompts: Rank1's frame around 200 of its own training pairs (query and passage). Traces: the shape of 200 R1-style
pointwise traces over MS MARCO (TFRank), scaled to the mean that Rank1 reports, 270 tokens. A token is taken as 4.3
characters of English; no tokenizer is needed.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

CHARACTERS, BIN, MEAN_TRACE = 4.3, 10, 270
FRAME = 112  # characters of Rank1's prompt around query and passage


def main(folder: Path) -> None:
    """Read the two files and write the histogram beside the room that uses it."""
    rows = [json.loads(line) for line in open(folder / "rank1_msmarco_labels_notrace.jsonl", encoding="utf-8")]
    prompts = [(len(row["query"]) + len(row["passage"]) + FRAME) / CHARACTERS for row in rows]
    rows = [json.loads(line) for line in open(folder / "tfrank_pointwise_think.jsonl", encoding="utf-8")]
    lengths = [len(row["reasoning"]) for row in rows]
    scale = MEAN_TRACE * len(lengths) / sum(lengths)
    made = {
        "what": "counts by bin; a bin's length is its lower edge and half of bin_tokens",
        "from": "200 of Rank1's training pairs; 200 TFRank pointwise traces scaled to a mean of 270 tokens",
        "made_by": "benchmarks/sft/lengths.py",
        "bin_tokens": BIN,
        "prompt": _bins(prompts),
        "trace": _bins([length * scale for length in lengths]),
    }
    target = Path(__file__).resolve().parents[2] / "sft" / "estimate" / "lengths.json"
    target.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


def _bins(lengths: list[float]) -> dict[str, int]:
    counts = Counter(int(length // BIN) * BIN for length in lengths)
    return {str(edge): counts[edge] for edge in sorted(counts)}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
