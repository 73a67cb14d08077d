"""The same row filters through datatrove: `python benchmarks/filters/peer_datatrove.py DIR CASE`.

Needs `pip install datatrove` too (0.10 was measured). One filter step that holds all rules, which is
faster there than one step a rule; two local tasks, Parquet in and out.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import cases
import predicate


def main() -> None:
    """One JSON line."""
    import pyarrow.parquet as pq
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.filters import LambdaFilter
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.writers import ParquetWriter

    folder, case = Path(sys.argv[1]), sys.argv[2]
    shards = predicate.joined(folder)
    keep = predicate.Keep(cases.CASES[case], predicate.tokenizer(folder))

    def whole(document: Any) -> bool:
        return keep({**document.metadata, "reasoning": document.text})

    with tempfile.TemporaryDirectory() as out:
        wall = time.monotonic()
        LocalPipelineExecutor(
            pipeline=[
                ParquetReader(str(shards), text_key="reasoning", id_key="request_id", batch_size=2048,
                              adapter=_adapter, read_metadata=True),
                LambdaFilter(whole),
                ParquetWriter(f"{out}/kept"),
            ],
            tasks=2, workers=2, logging_dir=f"{out}/logs",
        ).run()  # fmt: skip
        wall = time.monotonic() - wall  # its workers are not waited for, so their processor time is not seen
        kept = sum(pq.read_metadata(path).num_rows for path in Path(f"{out}/kept").rglob("*.parquet"))
    total = sum(pq.read_metadata(path).num_rows for path in shards.glob("*.parquet"))
    print(json.dumps(cases.line("datatrove", case, total, kept, wall, None)))


def _adapter(self: Any, data: dict[str, Any], path: str, id_in_file: int) -> dict[str, Any]:
    return {"text": data["reasoning"] or " ", "id": data["request_id"], "media": [], "metadata": data}


if __name__ == "__main__":
    main()
