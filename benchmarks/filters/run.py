"""Throughput of the filters: `python benchmarks/filters/run.py DIR [N]`.

Prints wall and processor seconds, traces a second, and the peak memory of the largest process. Processor time of all
processes over two cores is what the wall clock would show on two cores that nothing else uses.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import make

from filters.files import filter_folders
from filters.settings import DEFAULT, FilterSettings

ROW = ["finished", "parses", "has_reasoning", {"length": {"max_tokens": 2048}}, "degenerate", "language", "leak",
       "self_contradiction", "verdict_matches_label"]  # fmt: skip
CASES = {
    "row filters": ROW,
    "default filters": DEFAULT,
    "row filters and language identification": [*ROW, {"language": {"expect": "en"}}],
    "near duplicates of pairs": ["near_duplicate"],
    "consensus and balance": ["consensus", {"balance": {"per_query": 4}}],
}


def seconds() -> float:
    """Processor seconds of this process and of those that it waited for."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def main() -> None:
    """All cases, one JSON line each."""
    folder, count = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 500_000
    make.make(folder, count)
    for name, given in CASES.items():
        with tempfile.TemporaryDirectory() as out:
            wall, processor = time.monotonic(), seconds()
            counts = filter_folders(
                str(folder / "pairs"), str(folder / "traces"), f"{out}/kept", f"{out}/rejected", f"{out}/changed",
                FilterSettings.model_validate(given),
            )  # fmt: skip
            wall, processor = time.monotonic() - wall, seconds() - processor
        peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1e6
        line = {
            "case": name, "traces": counts["samples"], "kept": counts["kept"], "wall_s": round(wall, 1),
            "processor_s": round(processor, 1), "traces_per_s": round(count / wall),
            "traces_per_s_on_two_cores": round(2 * count / processor), "peak_gb": round(peak, 2),
            "rejected": {k: v["rejected"] for k, v in counts["by_filter"].items()},
        }  # fmt: skip
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
