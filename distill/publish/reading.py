"""Rows of any dataset of traces, one by one, each with its place: Parquet, JSON lines, JSON arrays, or a run of ours.

A row that cannot be read is a row with a fault, not an end: the next one is read. JSON arrays are held in memory.
Not covered: CSV, Arrow IPC files, and datasets on the hub (download them first).
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.errors import DataError
from distill.files.rows import is_junk, parsed

if TYPE_CHECKING:
    import pyarrow as pa

ENDINGS = (".parquet", ".jsonl", ".json", ".jsonl.gz", ".json.gz", ".ndjson")
NOT_ROWS = {
    "manifest.json",
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
    "state.json",
    "metrics.json",
}


@dataclass(frozen=True, slots=True)
class Raw:
    """A row as it is. `place` is `file:line` for JSON lines and `file[index]`, from 0, for Parquet and arrays;
    `fault` is why it cannot be read, with `values` then empty."""

    place: str
    values: dict[str, Any]
    fault: tuple[str, str] | None = None


def read(path: Path) -> Iterator[Raw]:
    """The rows of a file, of a folder's files by name, or of a run's kept traces.

    Raises DataError where there is nothing to read, or a file is not what its name says.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if path.is_dir() and (path / "kept").is_dir() and (path / "pairs").is_dir():
        yield from _run(path)
        return
    files = [path]
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.name.endswith(ENDINGS) and p.name not in NOT_ROWS)
        files = [file for file in files if not is_junk(file.relative_to(path))]
    if not files:
        raise DataError(f"{path}: holds no file of rows; wanted {', '.join(ENDINGS)}")
    for file in files:
        place = file.relative_to(path).as_posix() if path.is_dir() else file.name
        if file.name.endswith(".parquet"):
            yield from _parquet(file, place)
        elif file.name.removesuffix(".gz").endswith(".json"):
            yield from _json(file, place)
        elif file.name.endswith(ENDINGS):
            yield from _lines(file, place)
        else:
            raise DataError(f"{file}: not read here; wanted {', '.join(ENDINGS)}")


def _run(path: Path) -> Iterator[Raw]:
    """Every kept trace of a run, also those without a verdict, which are broken rows."""
    from distill.publish.rows import Kept, row_of, trained_verdict

    for index, (pair, trace) in enumerate(Kept(path).joined()):
        verdict = trained_verdict(pair, trace)
        values = asdict(row_of(pair, trace, verdict or 0))
        if verdict is None:
            values |= {"verdict": None, "completion": None}
        yield Raw(f"kept[{index}]", values)


def _parquet(file: Path, place: str) -> Iterator[Raw]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    index = 0
    try:
        with open(file, "rb") as source:
            for batch in pq.ParquetFile(source).iter_batches(batch_size=4096):
                for raw in _batch(batch):
                    fault = ("not UTF-8", f"column {raw}") if isinstance(raw, str) else None
                    yield Raw(f"{place}[{index}]", raw if isinstance(raw, dict) else {}, fault)
                    index += 1
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file}: not a readable Parquet file ({str(error).splitlines()[0]})") from None


def _batch(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | str]:
    """Each row; where a text is not UTF-8, the name of its column."""
    try:
        yield from batch.to_pylist()
        return
    except UnicodeDecodeError:
        pass
    for index in range(batch.num_rows):
        values: dict[str, Any] = {}
        bad = ""
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            try:
                values[name] = column[index].as_py()
            except UnicodeDecodeError:
                bad = name
        yield bad or values


def _bytes(file: Path) -> Any:
    return gzip.open(file, "rb") if file.name.endswith(".gz") else open(file, "rb")


def _lines(file: Path, place: str) -> Iterator[Raw]:
    with _bytes(file) as source:
        for number, raw in enumerate(source, 1):
            if raw.strip():
                yield _object(raw, f"{place}:{number}")


def _object(raw: bytes, place: str) -> Raw:
    try:
        value = parsed(raw.decode("utf-8-sig"), place)
    except UnicodeDecodeError as error:
        return Raw(place, {}, ("not UTF-8", f"at byte {error.start} of the line"))
    except DataError as error:
        return Raw(place, {}, ("not JSON", str(error).removeprefix(f"{place}: ")))
    return _checked(value, place)


def _checked(value: Any, place: str) -> Raw:
    if not isinstance(value, dict):
        return Raw(place, {}, ("not an object", f"a {type(value).__name__}"))
    return Raw(place, value)


def _json(file: Path, place: str) -> Iterator[Raw]:
    """An array of objects, or an object that holds one (`data`, `train`, ...); else JSON lines by another name."""
    with _bytes(file) as source:
        whole = source.read()
    try:
        value = parsed(whole.decode("utf-8-sig"), place)
    except UnicodeDecodeError as error:
        yield Raw(place, {}, ("not UTF-8", f"at byte {error.start} of the file"))
        return
    except DataError:
        yield from _lines(file, place)
        return
    if isinstance(value, dict):
        arrays = {
            key: rows for key, rows in value.items() if isinstance(rows, list) and rows and isinstance(rows[0], dict)
        }
        if not arrays or any(isinstance(rows[0].get("role", rows[0].get("from")), str) for rows in arrays.values()):
            yield _checked(value, place)
            return
        for key, rows in arrays.items():
            for index, each in enumerate(rows):
                yield _checked(each, f"{place}.{key}[{index}]")
        return
    for index, each in enumerate(value if isinstance(value, list) else [value]):
        yield _checked(each, f"{place}[{index}]")
