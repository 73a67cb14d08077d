"""The rows of any table that a user names (JSON lines, a JSON array, CSV, TSV, Parquet), each with its place."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from distill.errors import DataError
from distill.files.text import ending, foreign, lines, stream
from distill.files.values import keys
from distill.texts import clean_text

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, object]
Rows = Iterator[tuple[str, Row]]  # (file and line, row)
ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
REMEDIES = dict.fromkeys((".xlsx", ".xls", ".ods"), "save the sheet as CSV in UTF-8")
REMEDIES |= dict.fromkeys((".zip", ".bz2", ".xz", ".zst"), "unpack it, or use gzip")
UNICODE_TEXT = ".txt"  # Excel's; read where it is named, and not in a folder
# What systems and programs put into folders, and what describes a data set: no tables.
_JUNK = (".", "~$", "_SUCCESS", "__MACOSX", "Thumbs.db", "desktop.ini", "README", "LICENSE")
_MARKS = ",;|\t"  # between columns
_JSON_FORMS = "write a line a row, or one array of rows (pandas: orient='records', lines=True)"
csv.field_size_limit(1 << 30)


def rows(path: Path, needed: str = "") -> Rows:
    """(place, row) of a JSON lines, JSON array, CSV, TSV or Parquet file, by its ending, gzipped or not.

    JSON arrays are held in memory. Raises DataError with file and line for whatever cannot be read as it is; `needed`
    says what a missing file should be.
    """
    if ending(path) not in (*ENDINGS, UNICODE_TEXT):
        remedy = REMEDIES.get(ending(path), ".gz after any but the last")
        raise DataError(f"{path}: its ending is none of {', '.join(ENDINGS)} ({remedy})")
    if path.is_dir() or ending(path) != ".parquet":
        read = {".csv": _csv, ".tsv": _tsv, UNICODE_TEXT: _csv}.get(ending(path))
        return read(path, needed) if read else json_rows(path, needed)
    return _parquet(path)


def table_files(folder: Path) -> list[Path]:
    """The tables in a folder, by name; what systems leave there (.DS_Store, ~$book.csv, __MACOSX) is passed over.

    Raises DataError for a folder within it, a file of another kind, or no table at all.
    """
    found = sorted(path for path in folder.iterdir() if not path.name.startswith(_JUNK))
    for path in found:
        if path.is_dir():
            raise DataError(f"{folder}: holds the folder {path.name}; name one folder of tables")
        if ending(path) not in ENDINGS:
            raise DataError(f"{path}: its ending is none of {', '.join(ENDINGS)}; take it out of the folder")
    for path in found:
        if path.with_name(f"{path.name}.gz") in found:
            raise DataError(f"{path}.gz: {path.name} is there as well; keep one of them")
    if not found:
        raise DataError(f"{folder}: holds no table; wanted are files that end in {', '.join(ENDINGS)}")
    return found


def first_rows(path: Path, endings: Sequence[str] = ENDINGS) -> Iterator[Row]:
    """The first row of a table, or of each in a folder of tables; nothing of any other file or folder.

    Raises DataError for a table that cannot be read.
    """
    try:
        files = table_files(path) if path.is_dir() else [path]
    except DataError:
        return
    if all(ending(file) in endings for file in files):
        for file in files:
            yield from (row for _, row in islice(rows(file), 1))


def is_junk(path: Path) -> bool:
    """Whether a file, or a folder above it, is one that systems leave in folders."""
    return any(part.startswith(_JUNK[:-2]) for part in path.parts)


def files_below(folder: Path) -> list[Path]:
    """All files below a folder, sorted, save junk and whole folders that this project writes (`.lease`); or the file.

    Junk is what systems and Python leave in folders.
    """
    if not folder.is_dir():
        return [folder] if folder.is_file() else []
    written = {lease.parent for lease in folder.rglob(".lease")} - {folder}
    found = sorted(path for path in folder.rglob("*") if path.is_file() and written.isdisjoint(path.parents))
    inside = [(path, path.relative_to(folder)) for path in found]
    return [path for path, name in inside if not is_junk(name) and "__pycache__" not in name.parts]


def json_rows(path: Path, needed: str = "") -> Rows:
    """(place, object) of JSON lines, or of one array of objects. Raises DataError with file and line."""
    numbered = lines(path, needed)
    first = next(numbered, None)
    if first is None:
        return
    if first[1].lstrip().startswith("["):
        yield from _array(path, first, numbered)
        return
    name = str(path)
    if first[1].strip() == "{":
        raise DataError(f"{path}:{first[0]}: not JSON lines: an object over several; {_JSON_FORMS}")
    for number, line in chain([first], numbered):
        where = f"{name}:{number}"
        row = parsed(line, where)
        if not isinstance(row, dict):
            raise DataError(f"{where}: a line is an object; this is {keys(row)}")
        if number == first[0] and _is_a_table(row):
            raise DataError(f"{where}: no row but a whole table ({keys(row)}); {_JSON_FORMS}")
        yield where, row


def _is_a_table(row: Row) -> bool:
    """Whether an object is what pandas' `to_json` makes of a whole table, or one that holds the rows under `data`."""
    values = row.values()
    return bool(row) and all(isinstance(value, dict) or (isinstance(value, list) and "data" in row) for value in values)


class _RepeatedKey(Exception):
    """An object of JSON with one key twice, of which Python would keep the last."""


def _object(pairs: list[tuple[str, object]]) -> Row:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        raise _RepeatedKey(next(name for name in row if names.count(name) > 1))
    return row


_decode = json.JSONDecoder(object_pairs_hook=_object).decode


def parsed(text: str, where: str) -> object:
    """What a JSON text says, half surrogate pairs replaced. Raises DataError naming the place."""
    try:
        value = _decode(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not JSON ({error.msg} at column {error.colno})") from None
    except _RepeatedKey as error:
        raise DataError(f"{where}: the key {error.args[0]!r} is there twice in one object; keep one") from None
    except RecursionError:
        raise DataError(f"{where}: JSON nested too deep") from None
    except ValueError:
        raise DataError(f"{where}: a number of more than 4,300 digits; write it as a text") from None
    return _mended(value) if "\\ud" in text or "\\uD" in text else value


def _mended(value: object) -> object:
    if isinstance(value, str):
        return value if value.isprintable() else _without_halves(value)
    if isinstance(value, list):
        return [_mended(item) for item in value]
    if isinstance(value, dict):
        return {_without_halves(name): _mended(item) for name, item in value.items()}
    return value


def _without_halves(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _array(path: Path, first: tuple[int, str], rest: Iterator[tuple[int, str]]) -> Rows:
    number, line = first
    others = [line for _, line in rest]
    array = parsed("\n".join([line, *others]), f"{path}:{number}")
    if not isinstance(array, list) or not all(isinstance(row, dict) for row in array):
        raise DataError(f"{path}:{number}: a line is an object; this is {keys(array)}")
    for index, row in enumerate(array, 1):
        yield f"{path}: object {index}", row


def _csv(path: Path, needed: str) -> Rows:
    """Commas, semicolons (Excel in much of Europe) or tabs: whichever the header has."""
    with stream(path, needed) as text:
        head = text.readline().lstrip("\ufeff")
        if head.lower().startswith("sep="):  # Excel's hint
            head = text.readline()
        delimiter = next((mark for mark in ",;\t" if mark in head), ",")
        source = csv.reader(chain([head], text), delimiter=delimiter, strict=True)
        header: list[str] = []
        try:
            for cells in source:
                if not any(cell.strip() for cell in cells):
                    continue
                if not header:
                    header = _header(cells, f"{path}:{source.line_num}")
                    continue
                yield f"{path}:{source.line_num}", _row(header, cells, f"{path}:{source.line_num}")
        except UnicodeDecodeError as error:
            message = f"{path}:{source.line_num + 1}: not UTF-8 ({error.reason}); save the file as UTF-8"
            raise DataError(message) from None
        except csv.Error as error:
            raise DataError(f"{path}:{source.line_num}: not readable as a table ({error}); mend the quotes") from None


def _tsv(path: Path, needed: str) -> Rows:
    header: list[str] = []
    for number, cells in tab_lines(path, needed):
        where = f"{path}:{number}"
        if not header:
            header = _header(cells, where)
        else:
            yield where, _row(header, cells, where)


def tab_lines(path: Path, needed: str = "") -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of a file with tabs. Raises DataError for a cell that is quoted as in CSV."""
    for number, line in lines(path, needed):
        cells = line.split("\t")
        if '""' in line:
            for cell in cells:
                inner = cell[1:-1].replace('""', "")
                if len(cell) > 3 and cell[0] == cell[-1] == '"' and '""' in cell[1:-1] and '"' not in inner:
                    raise DataError(f"{path}:{number}: quoted as CSV ({cell[:30]}); save as .csv, or without quotes")
        yield number, cells


def _header(cells: Sequence[str], where: str) -> list[str]:
    header = [clean_text(cell) for cell in cells]
    mark = next((mark for mark in _MARKS if mark in header[0]), None) if len(header) == 1 else None
    if mark:
        raise DataError(f"{where}: one column, with {mark!r} in its name; save the table with commas, or tabs as .tsv")
    repeated = [name for name in header if name and header.count(name) > 1]
    if repeated:
        raise DataError(f"{where}: two columns are called {repeated[0]!r}; rename one")
    return header


def _row(header: Sequence[str], cells: Sequence[str], where: str) -> Row:
    if cells and cells[0][:1] == "\ufeff":
        cells = [cells[0].lstrip("\ufeff"), *cells[1:]]
    if cells and cells[0] in header and sorted(map(clean_text, cells)) == sorted(header):
        raise DataError(f"{where}: the header again; files were joined: take it out, or name a folder of the files")
    if len(header) == 1 and len(cells) > 1:
        raise DataError(f"{where}: {len(cells)} columns, and the first line has one ({header[0]!r}); take it out")
    if len(cells) != len(header):
        raise DataError(f"{where}: the row has not the header's {len(header)} columns; mend or quote it")
    return dict(zip(header, cells, strict=True))


def _parquet(path: Path) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise DataError(f"{path}: no such file")
    with open(path, "rb") as source:
        head = source.read(4096)
    kind = None if head.startswith(b"PAR1") else foreign(head)
    if kind:
        raise DataError(f"{path}: {kind}")
    number = 0
    try:
        file = pq.ParquetFile(path)
        classes = _classes(file.schema_arrow)
        for batch in file.iter_batches(batch_size=4096):
            for row in _listed(batch):
                number += 1
                for name, names in classes.items():
                    row[name] = class_name(row[name], names)
                yield f"{path}: row {number}", row
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: not a readable Parquet file ({reason})") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: row {number + 1} or one after it: a text that is not UTF-8") from None


def class_name(value: object, names: Sequence[str]) -> object:
    """The name of a class by its number; what is no number is a name already, and a number of none says nothing."""
    if isinstance(value, str) and not value.strip().lstrip("-").isdecimal():
        return value
    number = int(value) if isinstance(value, int | str) else -1
    return names[number] if number in range(len(names)) else None


def _classes(schema: pa.Schema) -> dict[str, list[str]]:
    """{column: names of its classes}, as `datasets` writes them into a Parquet file."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    named = {name: features[name] for name in schema.names if name in features}
    return {name: each["names"] for name, each in named.items() if isinstance(each, dict) and each.get("names")}


def _listed(batch: pa.RecordBatch) -> list[Row]:
    rows: list[Row] = batch.to_pylist()
    return rows
