"""What lies at a path: the source that reads it, its columns and splits, how it is labelled. Called by `distill init`.

It holds no rule of its own about formats: each source recognises its own files (`Source.recognise`), and the pairs are
made as the stage `pairs` makes them, so that what that stage refuses is refused here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from distill.errors import DataError
from distill.files.rows import ENDINGS, REMEDIES, is_junk
from distill.files.runs import run_rows
from distill.files.text import ending, foreign
from distill.pairs.build import build
from distill.pairs.settings import DataSettings, NegativeSettings, PairSettings
from distill.pairs.sources import SOURCES, open_source
from distill.pairs.sources.base import Source
from distill.pairs.sources.table import Table
from distill.records import Pair

ORDER = ("beir", "huggingface", "trec", "tevatron", "table", "texts")  # the first that recognises a path reads it
TESTED = ("test", "eval", "dev", "val", "valid", "validation")  # splits that are evaluated on, the first that is there
ROWS = 3


@dataclass(frozen=True, slots=True)
class DataRow:
    """A pair as the source reads it; `grade` is None where nobody judged it, `query` "" in a folder of texts."""

    query: str
    passage: str
    grade: float | None


@dataclass(frozen=True, slots=True)
class TrecRun:
    """A run file of the folder, and how many of the queries it ranks that are judged for the evaluation."""

    name: str
    ranked: int
    judged: int


@dataclass(frozen=True, slots=True)
class DataFound:
    """What was found: the source and its settings, and counts of the split that is trained on.

    `train` is that split, None where the data are one piece; `grades` is {label: pairs}, those without one apart;
    `listed` says whether the source lists negatives; `columns` are those that a table is read by; `left_out` says in
    the words of the stage `pairs` which pairs it leaves out, and how many have two grades. `run` is the TREC run of the
    folder, and `others` are its files that are not read.
    """

    source: str
    files: dict[str, str]
    splits: list[str]
    train: str | None = None
    queries: int = 0
    pairs: int = 0
    grades: dict[int, int] = field(default_factory=dict)
    listed: bool = False
    columns: dict[str, str] = field(default_factory=dict)
    rows: list[DataRow] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    run: TrecRun | None = None
    others: list[str] = field(default_factory=list)

    @property
    def test_split(self) -> str | None:
        """The split to evaluate on, by its name; None where one is made by shares."""
        if self.source == "tevatron" or not self.labels:
            return None
        return next((name for name in TESTED if name in self.splits and name != self.train), None)

    @property
    def labels(self) -> int:
        """How many pairs have a label."""
        return sum(self.grades.values())

    @property
    def unlabelled(self) -> int:
        """How many have none."""
        return self.pairs - self.labels

    @property
    def relevant_from(self) -> int:
        """From which grade on a pair is best taken as relevant: 1, or above the middle where every grade is above 0."""
        if len(self.grades) < 2 or min(self.grades) < 1:
            return 1
        return (min(self.grades) + max(self.grades)) // 2 + 1

    @property
    def relevant(self) -> int:
        """How many pairs then are relevant."""
        return sum(count for grade, count in self.grades.items() if grade >= self.relevant_from)


@dataclass(frozen=True, slots=True)
class Data:
    """A path, the source that reads it, and the settings that open it."""

    path: Path
    settings: DataSettings
    source: Source
    splits: list[str]


def open_data(path: Path, columns: dict[str, str]) -> Data:
    """The data at a path. Raises DataError where no source reads them, and what their source raises."""
    name, files = _recognised(path)
    settings = DataSettings(source=name, path=str(path), files=files, columns=columns)
    source = open_source(settings, path, path)
    return Data(path, settings, source, source.splits())


def _recognised(path: Path) -> tuple[str, dict[str, str]]:
    """(the source that reads what lies there, its `files`). Raises DataError where none does."""
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    for name in ORDER:
        files = SOURCES.load(name).recognise(path)
        if files is not None:
            return name, files
    if path.is_file():
        raise DataError(f"{path}: {_why_not(path)}")
    inside = sorted(file for file in path.iterdir() if not file.name.startswith("."))
    odd = next((file for file in inside if file.is_file()), None)
    holds = f"; {odd.name} {_why_not(odd)}" if odd else ""
    raise DataError(
        f"{path}: is no table (CSV, TSV, JSONL, Parquet), no folder of tables, of BEIR, TREC, Tevatron or Hugging Face "
        f"files, and no folder of texts{holds}; docs/data.md describes what is read"
    )


def _why_not(file: Path) -> str:
    """Why a file is not read."""
    with open(file, "rb") as opened:
        head = opened.read(4096)
    if not head:
        return "is empty"
    if ending(file) in ENDINGS:
        return "has a line of names and no row below it"
    remedy = REMEDIES.get(ending(file), "convert it to one of them; plain texts are read as a folder of .txt files")
    return foreign(head) or f"ends in none of {', '.join(ENDINGS)}; {remedy}"


def look(data: Data, train: str | None) -> DataFound:
    """The pairs of split `train` as the stage `pairs` makes them, without mined negatives. Raises what it raises."""
    source, settings = data.source, data.settings
    if settings.source == "texts":
        rows = [DataRow("", text, None) for _, _, text in islice(source.passages(), ROWS)]
        return DataFound(settings.source, settings.files, [], rows=rows)
    split = {} if train is None else {"split": train}
    values = {name: getattr(settings, name) for name in settings.model_fields_set}
    said: list[str] = []
    whole = PairSettings(**values, **split, negatives=NegativeSettings(per_query=0))
    pairs, counts = build(whole, 0, data.path, data.path, notify=said.append)
    listed = next(iter(source.negatives(train)), None) is not None
    grades: Counter[int | None] = Counter()
    of_grade: dict[int, Pair] = {}
    for pair in pairs:
        grades[pair.label] += 1
        of_grade.setdefault(-1 if pair.label is None else pair.label, pair)
    highest_first = [of_grade[grade] for grade in sorted(of_grade, reverse=True)]
    shown = {pair.pair_id: pair for pair in [*highest_first, *islice(pairs, ROWS)]}
    notes, queries = counts["of_source"], counts["queries"]
    found = DataFound(
        settings.source, settings.files, data.splits, train, queries if isinstance(queries, int) else 0, len(pairs),
        {grade: count for grade, count in sorted(grades.items(), key=_order) if grade is not None}, listed,
        source.column_names() if isinstance(source, Table) else {},
        [DataRow(pair.query, pair.passage, pair.label) for pair in islice(shown.values(), ROWS)],
        {what: count for what, count in notes.items() if isinstance(count, int)} if isinstance(notes, dict) else {},
        [text for text in said if text.startswith("left out: ") or "contradictory" in text],
    )  # fmt: skip
    return _with_other_files(data, found)


def _with_other_files(data: Data, found: DataFound) -> DataFound:
    """The same with the folder's run for the first stage of the evaluation, and the names of files that are not read.

    Of several runs it is the one that ranks most of the judged queries, and of those one that is called BM25.
    """
    if not data.path.is_dir():
        return found
    read = {file.resolve() for file in data.source.files()}
    unread = [file for file in sorted(data.path.iterdir()) if file.is_file() and file.resolve() not in read]
    unread = [file for file in unread if not file.name.startswith(".") and not is_junk(Path(file.name))]
    run = None
    if found.labels and found.source != "tevatron":
        judged = {
            query for _, query, _, grade in data.source.labels(found.test_split or found.train) if grade is not None
        }
        runs = [_run_of(file, judged) for file in unread if _is_run(file)]
        run = max(
            (one for one in runs if one.ranked), key=lambda one: (one.ranked, "bm25" in one.name.lower()), default=None
        )
    return replace(found, run=run, others=[file.name for file in unread if run is None or file.name != run.name])


def _is_run(file: Path) -> bool:
    """Whether the first line is that of a TREC run: query Q0 passage rank score tag."""
    try:
        return next(run_rows(file))[3].isdigit()
    except DataError:
        return False


def _run_of(file: Path, judged: set[str]) -> TrecRun:
    """Raises DataError, with file and line, for a run that is broken further down."""
    return TrecRun(file.name, len({query for _, query, *_ in run_rows(file, judged)}), len(judged))


def _order(item: tuple[int | None, int]) -> int:
    return -1 if item[0] is None else item[0]
