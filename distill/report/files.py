"""What the report reads from a run folder. Whatever is missing or torn is empty, never an error: a run that was
stopped half-way gets a report of what is there.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from distill import store
from distill.config import resolved
from distill.errors import DataError
from distill.report.words import href
from distill.results import RunMetrics, StageCounts, read_as
from distill.stages import BY_NAME, FOLDERS, STAGES

if TYPE_CHECKING:
    import pyarrow as pa

Row = TypeVar("Row")


class RunFiles:
    """A run folder, read as it is needed."""

    def __init__(self, run: Path) -> None:
        self.run = run

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved configuration."""
        return resolved(self.run) or {}

    @property
    def as_config(self) -> str:
        """The run's own configuration as the CONFIG of a command, which goes on in the run's folder."""
        return shlex.quote(str(self.run / "config.yaml"))

    @cached_property
    def metrics(self) -> RunMetrics:
        """metrics.json."""
        return read_as(RunMetrics, store.read_json(self.run / "metrics.json"))

    @cached_property
    def manifests(self) -> dict[str, dict[str, Any]]:
        """The manifest of each folder that has one."""
        found = {stage.folder: store.read_manifest(self.run / stage.folder) for stage in STAGES}
        return {folder: manifest for folder, manifest in found.items() if manifest is not None}

    @property
    def name(self) -> str:
        """The run's name."""
        return str(self.config.get("name") or self.metrics.name or self.run.name)

    def setting(self, *keys: str) -> Any:
        """The configuration's value at a key path, None where there is none."""
        value: Any = self.config
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def counts(self, stage: str) -> StageCounts:
        """What metrics.json says of a stage, and over it what its manifest says where it is done."""
        folder, stages = BY_NAME[stage].folder, self.metrics.stages
        result = self.manifests.get(folder, {}).get("result") or {}
        return read_as(StageCounts, {**(stages.get(stage) or stages.get(folder) or {}), **result})

    @property
    def judged(self) -> bool:
        """Whether the pairs' labels are the answers, without a teacher and without reasoning."""
        return self.setting("teacher", "source") == "labels"

    @property
    def can_ask(self) -> bool:
        """Whether the teacher's source can answer questions that come up later."""
        return self.setting("teacher", "source") not in ("labels", "import", "none")

    @property
    def cost_usd(self) -> float | None:
        """Dollars that all stages have been billed; None where nothing was asked, or what it cost is not known."""
        if self.judged or self.unpriced_tokens:
            return None
        known = [cost for counts in self._asking if (cost := counts.cost_usd) is not None]
        return sum(known) if known else None

    @property
    def unpriced_tokens(self) -> int:
        """Tokens of the teacher that nobody knows the price of."""
        return sum(counts.unpriced_tokens for counts in self._asking)

    @property
    def _asking(self) -> list[StageCounts]:
        """What each stage that may ask counted, and what grading the unjudged did: of its sets the last has it all."""
        graded = [
            read_as(StageCounts, found["asked"]) for found in (self.metrics.holes or {}).values() if "asked" in found
        ]
        return [*(self.counts(stage.name) for stage in STAGES), *sorted(graded, key=lambda c: c.cost_usd or 0)[-1:]]

    def state(self, stage: str) -> str:
        """`done`; `outdated`, made from an input that has since changed or gone; `missing`."""
        manifest = self.manifests.get(BY_NAME[stage].folder)
        if manifest is None:
            return "missing"
        for folder, recorded in (manifest.get("inputs") or {}).items():
            if folder not in FOLDERS:
                continue
            source = self.manifests.get(folder)
            if source is None or recorded != source["result"].get("data_hash", source["fingerprint"]):
                return "outdated"
        return "done"

    def rows_on_disk(self, folder: str) -> int | None:
        """How many rows the folder's shards hold, None where there are no shards."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        shards = sorted((self.run / folder).glob("*.parquet"))
        try:
            return sum(pq.ParquetFile(shard).metadata.num_rows for shard in shards) if shards else None
        except (pa.ArrowException, OSError):
            return None

    def rows(self, folder: str, row_type: type[Row]) -> Iterator[Row]:
        """The folder's rows in order; none where it is missing, and no more after a shard that cannot be read."""
        if (self.run / folder).is_dir():
            try:
                yield from store.read_rows(self.run / folder, row_type)
            except DataError:
                return

    def tables(self, folder: str, columns: list[str], where: Any = None) -> Iterator[pa.Table]:
        """The folder's shards as Arrow tables; one that cannot be read is left out. `where` is an Arrow expression."""
        import pyarrow as pa

        for shard in sorted((self.run / folder).glob("*.parquet")):
            try:
                yield store.read_table(shard, columns, where)
            except (pa.ArrowException, OSError):
                continue

    def select(self, folder: str, row_type: type[Row], where: Any) -> Iterator[Row]:
        """The rows that meet the Arrow expression, in order; a shard that cannot be read is left out.

        Arrow filters batches of the shards, and only what it finds becomes rows.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        names = store.schema_of(row_type).names
        for shard in sorted((self.run / folder).glob("*.parquet")):
            try:
                file = pq.ParquetFile(shard)
                columns = [name for name in names if name in file.schema_arrow.names]
                for batch in file.iter_batches(batch_size=8192, columns=columns):
                    for row in store.complete(pa.Table.from_batches([batch]).filter(where), names).to_pylist():
                        yield row_type(**row)
            except (pa.ArrowException, OSError):
                continue

    def log(self) -> Iterator[dict[str, Any]]:
        """The lines of log.jsonl; a torn line is left out."""
        path = self.run / "log.jsonl"
        if not path.is_file():
            return
        with open(path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    event = json.loads(line)
                except json.JSONDecodeError:
                    continue
                if isinstance(event, dict):
                    yield event

    def link(self, *parts: str) -> str | None:
        """A relative link to a file or folder of the run; None where it does not exist."""
        return href(*parts) if self.run.joinpath(*parts).exists() else None

    def links(self, named: Iterable[tuple[str, ...]]) -> list[tuple[str, str]]:
        """(name, link) of each (name, *parts of its path) that exists."""
        return [(name, link) for name, *parts in named if (link := self.link(*parts))]
