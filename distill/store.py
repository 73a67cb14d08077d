"""Rows on disk: Parquet shards with a manifest written last, and the lease that keeps a second process out.

A stage's folder without a manifest is not done, whatever else lies in it. Paths go through fsspec (a local folder,
`s3://`, `gs://`); the lease needs a local folder, since object stores have no lock.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_type_hints

from distill.disk_map import DiskMap
from distill.errors import DataError, RunFolderError
from distill.records import SCHEMA_VERSION, Judgement, Pair, Rejected, Trace

if TYPE_CHECKING:
    import pyarrow as pa

Row = TypeVar("Row")
MANIFEST = "manifest.json"
SHARD_ROWS = 50_000
LATER_COLUMNS = frozenset({"p_relevant"})  # numbers that files of older runs lack; null there
BATCH_ROWS = 8192  # read, or turned into Arrow, together
PACKAGES = ("rerank-distill", "pyarrow", "datasets", "torch", "transformers", "trl", "peft", "ray", "openai", "vllm")


def filesystem(path: str | Path) -> tuple[Any, str]:
    """(fsspec filesystem, path within it); `file` for a plain path."""
    import fsspec

    if str(path).startswith("driver://"):
        import distill.driver_filesystem  # noqa: F401  # which makes the scheme known

    fs, inner = fsspec.core.url_to_fs(str(path))
    return fs, inner


def is_local(fs: Any) -> bool:
    """Whether an fsspec filesystem is this machine's own files."""
    return "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)


def schema_of(row_type: type) -> pa.Schema:
    """The Arrow schema of a row type; dictionaries and lists of dictionaries are JSON text."""
    import pyarrow as pa

    if row_type is Rejected:
        base = schema_of(Trace)
        return base.append(pa.field("filter", pa.string())).append(pa.field("reason", pa.string()))
    plain = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    hints = get_type_hints(row_type)
    columns = []
    for f in fields(row_type):
        kind = hints[f.name]
        kinds = [k for k in get_args(kind) if k is not type(None)] or [kind]
        columns.append(pa.field(f.name, plain.get(kinds[0], pa.string())))
    return pa.schema(columns)


def _flat(row: Any, names: list[str]) -> tuple[Any, ...]:
    if isinstance(row, Rejected):
        return (*_flat(row.trace, names[:-2]), row.filter, row.reason)
    values = (getattr(row, name) for name in names)
    return tuple(json.dumps(v, sort_keys=True) if isinstance(v, dict | list) else v for v in values)


def _sort_key(row: Any) -> tuple[Any, ...]:
    row = row.trace if isinstance(row, Rejected) else row
    if isinstance(row, Judgement):
        return (row.query_id, row.doc_id)
    return (row.pair_id, getattr(row, "sample", 0), getattr(row, "target", ""))


def write_rows(folder: str | Path, rows: Iterable[Any], row_type: type, *, presorted: bool = False) -> dict[str, Any]:
    """Replace `folder`'s shards by `rows`, sorted by (pair_id, sample), judgements
    by (query_id, doc_id); returns {"rows", "data_hash", "files"}.

    The manifest of an earlier write is removed first and is not written here: `write_manifest` does, last.
    `presorted` streams rows that come in order, holding one shard in memory.
    """
    import pyarrow as pa

    fs, inner = filesystem(folder)
    clear_rows(folder)
    schema = schema_of(row_type)
    stream: Iterable[Any] = rows if presorted else sorted(rows, key=_sort_key)
    total, hashes = 0, hashlib.sha256()
    files: list[str] = []
    waiting: list[tuple[Any, ...]] = []
    columns: list[list[pa.Array]] = [[] for _ in schema]  # each in parts, so that few rows are held as Python's objects

    def convert() -> None:
        values = list(zip(*waiting, strict=True)) or [() for _ in schema]
        for parts, column, field in zip(columns, values, schema, strict=True):
            parts.append(pa.array(column, type=field.type))
        waiting.clear()

    def flush() -> None:
        convert()
        arrays = []
        for parts in columns:
            arrays.append(pa.concat_arrays(parts))
            parts.clear()
        table = pa.table(arrays, schema=schema)
        name = f"part-{len(files):05d}.parquet"
        write_table(f"{folder}/{name}", table)
        hashes.update(fs.cat_file(f"{inner}/{name}"))
        files.append(name)

    for row in stream:
        waiting.append(_flat(row, schema.names))
        total += 1
        if total % SHARD_ROWS == 0:
            flush()
        elif len(waiting) == BATCH_ROWS:
            convert()
    if total % SHARD_ROWS or not files:
        flush()
    return {"rows": total, "data_hash": hashes.hexdigest(), "files": files}


def read_rows(folder: str | Path, row_type: type[Row]) -> Iterator[Row]:
    """The rows of a finished or unfinished folder, shard by shard, in order.

    Raises DataError where a column is missing or a file cannot be read as Parquet.
    """
    for batch in _batches(folder, row_type):
        yield from _rows(batch, row_type)


def read_joined(pairs: str | Path, traces: str | Path, changed: Mapping[str, Pair]) -> Iterator[tuple[Pair, Trace]]:
    """Each trace of a folder with its pair, both folders being sorted by pair_id; `changed` take the place of pairs.

    One batch of each is held; of pairs without a trace no row is made. Raises DataError as `read_rows` does, and for a
    trace without its pair.
    """
    import pyarrow.compute as pc

    batches = _batches(pairs, Pair)
    ahead = next(batches, None)
    for batch in _batches(traces, Trace):
        ids = batch.column("pair_id")
        last = ids[-1].as_py()
        known: dict[str, Pair] = {}
        while ahead is not None and ahead.column("pair_id")[0].as_py() <= last:
            wanted = ahead.filter(pc.is_in(ahead.column("pair_id"), value_set=ids))
            known.update((pair.pair_id, pair) for pair in _rows(wanted, Pair))
            if ahead.column("pair_id")[-1].as_py() >= last:  # a pair's further samples may come in the next batch
                break
            ahead = next(batches, None)
        for trace in _rows(batch, Trace):
            pair = changed.get(trace.pair_id) or known.get(trace.pair_id)
            if pair is None:
                raise DataError(f"{traces}: trace of the pair {trace.pair_id}, which is not among the pairs")
            yield pair, trace


def _batches(folder: str | Path, row_type: type) -> Iterator[pa.RecordBatch]:
    """The rows of a folder's Parquet files in batches that are not empty, the columns in the order of the fields.

    A later column, which older files lack, has its default: null.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    fs, inner = filesystem(folder)
    names = schema_of(row_type).names
    for path in parquet_files(fs, inner):
        with fs.open(path, "rb") as source:
            try:
                parquet = pq.ParquetFile(source)
                there = set(parquet.schema_arrow.names)
                missing = set(names) - there - LATER_COLUMNS
                if missing:
                    raise DataError(
                        f"{path}: no column {sorted(missing)[0]!r}; it was not written as {row_type.__name__} rows"
                    )
                columns = [name for name in names if name in there]
                for batch in parquet.iter_batches(batch_size=BATCH_ROWS, columns=columns):
                    if batch.num_rows:
                        yield complete(pa.Table.from_batches([batch]), names).to_batches()[0]
            except pa.ArrowException as error:
                raise DataError(f"{path}: not a readable Parquet file ({error})") from None


def read_table(source: Any, columns: Sequence[str], where: Any = None) -> pa.Table:
    """These columns of a Parquet file, a path or an open file; those that older files lack are null. `where` is an
    Arrow expression of columns that every file has."""
    import pyarrow.parquet as pq

    there = pq.ParquetFile(source).schema_arrow.names
    asked = [name for name in columns if name in there or name not in LATER_COLUMNS]
    return complete(pq.read_table(source, columns=asked, filters=where), columns)


def complete(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    """The table with these columns in their order; those that older files lack are null."""
    import pyarrow as pa

    for name in columns:
        if name in LATER_COLUMNS and name not in table.column_names:
            table = table.append_column(name, pa.nulls(table.num_rows, pa.float64()))
    return table.select(list(columns))


def _rows(batch: pa.RecordBatch, row_type: type[Row]) -> Iterator[Row]:
    """The rows of a batch whose columns are in the order of the row type's fields."""
    names = schema_of(row_type).names
    hints = get_type_hints(Trace if row_type is Rejected else row_type)
    columns = [column.to_pylist() for column in batch.columns]
    for place, name in enumerate(names):
        if name in hints and getattr(hints[name], "__origin__", None) in (dict, list):
            columns[place] = list(map(json.loads, columns[place]))
    if row_type is Rejected:
        for *values, name, reason in zip(*columns, strict=True):
            yield Rejected(Trace(*values), name, reason)  # type: ignore[misc]
    else:
        yield from map(row_type, *columns)


def parquet_files(fs: Any, folder: str) -> list[str]:
    """The Parquet files of a folder within an fsspec filesystem, in order."""
    return sorted(path for path in fs.ls(folder, detail=False) if path.endswith(".parquet"))


def write_table(path: str, table: pa.Table) -> None:
    """Write a Parquet file."""
    import pyarrow.parquet as pq

    fs, inner = filesystem(path)
    with fs.open(inner, "wb") as out:
        pq.write_table(table, out, compression="zstd")


def clear_rows(folder: str | Path) -> None:
    """Make the folder, and remove its manifest, then its Parquet files."""
    fs, inner = filesystem(folder)
    fs.makedirs(inner, exist_ok=True)
    for old in sorted(fs.ls(inner, detail=False), key=lambda path: not path.endswith(MANIFEST)):
        if old.endswith((MANIFEST, ".parquet")):
            fs.rm_file(old)


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never half of it."""
    _replace(path, chain(_json(value), ("\n",)))


def write_text(path: str | Path, text: str) -> None:
    """Replace a file by a text, so that a reader sees the old file or the new one, never half of it."""
    _replace(path, (text,))


def _json(value: Any, margin: str = "\n") -> Iterator[str]:
    """The pieces of the value as indented JSON; of a dictionary on disk one item is in memory."""
    inside = value.values() if type(value) is dict else ()
    if not isinstance(value, DiskMap) and not any(isinstance(item, DiskMap) for item in inside):
        yield json.dumps(value, indent=2, ensure_ascii=False, default=str).replace("\n", margin)
        return
    before = "{"
    for key, item in value.items():
        yield f"{before}{margin}  {json.dumps(key, ensure_ascii=False)}: "
        yield from _json(item, margin + "  ")
        before = ","
    yield "{}" if before == "{" else margin + "}"


def _replace(path: str | Path, pieces: Iterable[str]) -> None:
    fs, inner = filesystem(path)
    if not is_local(fs):
        fs.pipe_file(inner, "".join(pieces).encode())
        return
    temporary = f"{inner}.{os.getpid()}.tmp"
    with open(temporary, "wb") as out:
        out.writelines(piece.encode() for piece in pieces)
        out.flush()
        os.fsync(out.fileno())
    os.replace(temporary, inner)


def read_json(path: str | Path) -> Any | None:
    """The JSON value at `path`, or None where there is no such file or it is torn."""
    fs, inner = filesystem(path)
    try:
        return json.loads(fs.cat_file(inner))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None


def fingerprint(value: Any) -> str:
    """A hash of settings: equal values, equal hash, whatever the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def write_manifest(
    folder: str | Path, stage: str, inputs: Mapping[str, Any], settings: Any, result: Mapping[str, Any]
) -> None:
    """Say that `folder` is done: what it was made from, by which settings and versions, and what it holds."""
    fs, inner = filesystem(folder)
    fs.makedirs(inner, exist_ok=True)
    write_json(
        f"{folder}/{MANIFEST}",
        {
            "stage": stage,
            "schema_version": SCHEMA_VERSION,
            "fingerprint": stage_fingerprint(stage, inputs, settings),
            "inputs": inputs,
            "settings": settings,
            "result": result,
            "versions": versions(),
            "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        },
    )


def stage_fingerprint(stage: str, inputs: Mapping[str, Any], settings: Any) -> str:
    """What must be unchanged for a stage not to run again."""
    return fingerprint({"stage": stage, "schema": SCHEMA_VERSION, "inputs": inputs, "settings": settings})


def read_manifest(folder: str | Path) -> dict[str, Any] | None:
    """The manifest, or None where the stage is not done."""
    manifest = read_json(f"{folder}/{MANIFEST}")
    return manifest if isinstance(manifest, dict) else None


def versions() -> dict[str, str]:
    """Installed versions of what shapes the results."""
    installed = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file's bytes, remote or local."""
    fs, inner = filesystem(path)
    total = hashlib.sha256()
    with fs.open(inner, "rb") as source:
        while block := source.read(1 << 20):
            total.update(block)
    return total.hexdigest()


def clear(folder: Path) -> None:
    """Remove a stage's folder, its manifest first, so that a kill half-way leaves it not done."""
    if folder.exists():
        (folder / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(folder)


@contextmanager
def lease(folder: Path) -> Iterator[None]:
    """Hold the run folder; raises RunFolderError while another live process holds it.

    The lock is the kernel's (flock), so it dies with its owner, however that ends. Not covered: two machines on a
    network file system without flock.
    """
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".lease"
    with open(path, "a+", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.seek(0)
            owner = handle.read().strip() or "another process"
            raise RunFolderError(f"{folder}: in use by {owner}; wait for it, or end it, then run again") from None
        handle.seek(0)
        handle.truncate()
        handle.write(f"process {os.getpid()} on {platform.node()}")
        handle.flush()
        yield
