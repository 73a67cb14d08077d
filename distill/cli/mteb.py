"""`distill export --to mteb`: a run's evaluation as mteb's leaderboard takes it. `distill.cli.export` calls it.

Written are results/ as `mteb.ResultCache` keeps it, `model_meta.py` with the student's ModelMeta, predictions/ with the
first stages' lists, and a README.md that says what is not there. The rankings that were made are scored once more by
mteb's own code, so nothing is judged again.
"""

from __future__ import annotations

import datetime
import pprint
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill import __version__, config, store
from distill.errors import InputError
from distill.evaluation import mteb_results
from distill.evaluation.settings import EvaluationSettings, SetSettings
from distill.evaluation.suites.hub import loaded_task
from distill.files.runs import read_run
from distill.publish.card import words
from distill.publish.model import is_student
from distill.rerank.adapters.mteb import UNKNOWN, meta_of
from distill.results import SetDetail, StudentModes, read_as
from distill.tables import counted, markdown

FILE = "model_meta.py"
OWN_LISTS = "the task's own lists"
HEADER = '''\
"""mteb's record of a student, and how it is loaded: `from model_meta import MODEL; MODEL.load_model()`."""

from mteb.models import ModelMeta

STUDENT = {student!r}  # a folder, or the model's name on the hub


def load(name, revision=None, device=None, **options):
    from distill.rerank.adapters.mteb import load

    return load(STUDENT, name, revision, device, **options)


MODEL = ModelMeta(
    loader=load,
{fields})
'''


@dataclass(frozen=True, slots=True)
class Scored:
    """One system on one set: what mteb says of its ranking and of the first stage's."""

    entry: SetSettings
    system: str
    mode: str
    first_stage: str
    scores: Mapping[str, Any]
    first: Mapping[str, Any]
    seconds: float | None


@dataclass(slots=True)
class Made:
    """What one export holds: results, what is missing in it, and the tasks' main measures."""

    scored: list[Scored] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    tasks: dict[str, Any] = field(default_factory=dict)


def write(run: Path, folder: Path, out: Path) -> tuple[dict[str, float], list[str]]:
    """Write the results of the run's student in `folder` into `out`, empty; returns (counts, what to say of it).

    Raises InputError where the run has no evaluation by a task of mteb, ConfigError where mteb is missing, DataError
    where a task's data cannot be had.
    """
    if is_student(run):
        raise InputError(f"{run}: is a student's folder, and mteb's results come from an evaluation; name the run")
    folder = folder.resolve()
    meta, made = _meta(run, folder), Made()
    for entry in _entries(run, made):
        _score(run, entry, folder.name, meta, out, made)
    if not made.scored:
        raise InputError(f"{run}: student {folder.name} has no ranking of a task of mteb; {'; '.join(made.missing)}")
    modes = {row.system: row.mode for row in made.scored}
    own = modes.get(folder.name, made.scored[0].mode)
    meta = meta.model_copy(update={"loader_kwargs": {"mode": own, **_options(run)}})
    read = _write_results(run, meta, out, made)
    fields = {key: value for key, value in meta.model_dump().items() if key not in ("loader", "experiment_kwargs")}
    lines = "".join(f"    {key}={pprint.pformat(value, sort_dicts=False)},\n" for key, value in fields.items())
    (out / FILE).write_text(HEADER.format(student=str(folder), fields=lines), encoding="utf-8")
    (out / "README.md").write_text(_readme(meta, made), encoding="utf-8")
    return {"results": read}, [
        f"mteb reads {counted(read, 'result')} back",
        *(f"not here: {text}" for text in made.missing),
    ]


def _meta(run: Path, folder: Path) -> Any:
    """The student's record, with what the run knows besides its files."""
    raw = config.resolved(run) or {}
    revision = str((store.read_manifest(folder) or {}).get("fingerprint") or "local")[:40]
    meta = meta_of(str(folder), revision)
    base = str((raw.get("sft") or {}).get("base", ""))
    licence = str((raw.get("dataset") or {}).get("licence") or "").strip().lower() or None
    known = {"name": f"local/{raw.get('name', run.resolve().name)}-{folder.name}"}
    if licence in mteb_results.licences():
        known["license"] = licence
    if base.count("/") == 1 and not base.startswith((".", "/")) and not Path(base).exists():
        known["adapted_from"] = base
    return meta.model_copy(update=known)


def _entries(run: Path, made: Made) -> list[SetSettings]:
    """The sets that are tasks of mteb; of the others `made.missing` says so."""
    raw = (config.resolved(run) or {}).get("evaluation") or {}
    sets = config.validate(EvaluationSettings, dict(raw), run / "config.yaml").sets
    made.missing += [
        f"set {entry.name} comes from source {entry.source}, not from a task of mteb (source: mteb, path: its name)"
        for entry in sets
        if entry.source != "mteb"
    ]
    if not sets:
        made.missing.append("the run evaluates no set")
    return [entry for entry in sets if entry.source == "mteb"]


def _score(run: Path, entry: SetSettings, student: str, meta: Any, out: Path, made: Made) -> None:
    """Every ranking of the student of one set, by mteb; the first stage's also as predictions, where lists are its."""
    modes = store.read_json(run / "evaluation" / f"{entry.name}.modes.json") or {}
    systems = read_as(StudentModes, modes.get(student)).systems
    if not systems:
        made.missing.append(f"set {entry.name} was not evaluated with student {student}")
        return
    if entry.path not in made.tasks:
        made.tasks[entry.path] = loaded_task(entry.path)
    task = made.tasks[entry.path]
    own = mteb_results.has_own_lists(task, entry.split, entry.subset)
    stage = meta_of(f"local/{_stage_name(entry)}", f"depth-{entry.depth}")
    name = OWN_LISTS if own else f"{_stage_name(entry)}, depth {entry.depth}"
    predictions = None if own else out / "predictions" / stage.name.removeprefix("local/")
    lists = read_run(run / "evaluation" / f"{entry.name}.first_stage.trec")
    first = mteb_results.scores_of(task, entry.split, entry.subset, lists, stage, predictions)
    before = {"previous_results_model_meta": {"model_name": stage.name, "revision": stage.revision}}
    for system, asked in systems.items():
        ranking = read_run(run / "evaluation" / f"{entry.name}.{system}.trec")
        scores = mteb_results.scores_of(task, entry.split, entry.subset, ranking, meta)
        pairs = sum(map(len, ranking.values()))
        seconds = round(pairs / asked.pairs_per_s, 1) if asked.pairs_per_s else None
        made.scored.append(Scored(entry, system, asked.mode, name, scores | ({} if own else before), first, seconds))
    left_out = read_as(SetDetail, store.read_json(run / "evaluation" / f"{entry.name}.json")).left_out
    made.missing += [f"set {entry.name}: {count:,} {what}" for what, count in left_out.items()]


def _stage_name(entry: SetSettings) -> str:
    """The first stage's name in results: bm25, a TREC run's, a retriever's, or hybrid- with a retriever's."""
    if isinstance(entry.first_stage, str):
        return Path(entry.first_stage).stem
    return f"{'hybrid-' if entry.first_stage.hybrid else ''}{Path(entry.first_stage.model).name}"


def _options(run: Path) -> dict[str, Any]:
    """How the run's students were asked, where it is not the Reranker's default."""
    asked = config.resolved(run) or {}
    bound = (asked.get("evaluation") or {}).get("max_new_tokens")
    loops = (asked.get("scoring") or {}).get("loops", "stop")
    return {**({"max_new_tokens": bound} if bound else {}), **({} if loops == "stop" else {"loops": loops})}


def _write_results(run: Path, meta: Any, out: Path, made: Made) -> int:
    """Write results/ by mteb's own cache, and return how many results mteb reads back from it.

    The student's own mode over the first stage that the configuration names first is the model's result; what differs
    from it is an experiment of the model's, as mteb calls it.
    """
    import mteb
    from mteb.results import TaskResult

    written = (store.read_manifest(run / "evaluation") or {}).get("written")
    date = datetime.datetime.fromisoformat(written) if written else None
    first: dict[str, str] = {}
    parts: defaultdict[tuple[str, str, str], list[Scored]] = defaultdict(list)
    for row in made.scored:
        stage = "" if first.setdefault(row.entry.path, row.first_stage) == row.first_stage else row.first_stage
        parts[row.entry.path, "" if row.mode == meta.loader_kwargs["mode"] else row.mode, stage].append(row)
    cache = mteb.ResultCache(out)
    for (task, mode, stage), rows in parts.items():
        scores: defaultdict[str, dict[str, Any]] = defaultdict(dict)
        for row in rows:
            scores[row.entry.split][row.entry.subset] = row.scores
        seconds = [row.seconds for row in rows if row.seconds is not None]
        result = TaskResult.from_task_results(made.tasks[task], scores, 0.0, date=date)
        taken = round(sum(seconds), 1) if len(seconds) == len(rows) else None
        varied = {**({"mode": mode} if mode else {}), **({"first_stage": stage} if stage else {})}
        cache.save_to_cache(
            result.model_copy(update={"evaluation_time": taken}),
            meta.model_copy(update={"experiment_kwargs": varied or None}),
        )
        for split, subsets in result.get_missing_evaluations(made.tasks[task]).items():
            made.missing.append(
                f"task {task}: split {split}, {', '.join(sorted(subsets))}, which its leaderboard takes"
            )
    read = cache.load_results(require_model_meta=True, include_remote=False, load_experiments="match_name")
    return sum(len(model.task_results) for model in read.model_results)


def _readme(meta: Any, made: Made) -> str:
    """What is here, what is not, how it is loaded, how it is done again and how it gets to the leaderboard."""
    rows = [
        (
            words(row.entry.path),
            f"{row.entry.split}, {row.entry.subset}",
            row.mode,
            words(row.first_stage),
            made.tasks[row.entry.path].metadata.main_score,
            *(f"{scores['main_score']:.5f}" for scores in (row.first, row.scores)),
        )
        for row in made.scored
    ]
    table = markdown(("task", "split, subset", "mode", "first stage", "measure", "first stage's", "reranked"), rows)
    unknown = ", ".join(name for name in UNKNOWN if meta.model_dump()[name] is None)
    missing = "".join(f"- {words(text)}\n" for text in dict.fromkeys(made.missing))
    return f"""\
# mteb: {words(meta.name)}

{table}

Each figure is mteb's own, from the ranking that the evaluation made. `results/` is what `mteb.ResultCache` reads;
rankings of another mode, or over another first stage than the first of a task, are below `experiments/`:

```python
import mteb

mteb.ResultCache("THIS_FOLDER").load_results(load_experiments="match_name").to_dataframe()
```

## Done again by mteb

`model_meta.py` loads the student (`pip install 'rerank-distill[mteb]'`). A task without lists of its own is reranked
over a first stage's, which `predictions/` holds:

```python
import sys

import mteb

sys.path.insert(0, "THIS_FOLDER")
from model_meta import MODEL

task = mteb.get_task("TASK", eval_splits=["SPLIT"], hf_subsets=["SUBSET"])
task.convert_to_reranking("THIS_FOLDER/predictions/FIRST_STAGE", top_k=DEPTH)  # not for a task with its own lists
mteb.evaluate(MODEL.load_model(), task, cache=None)
```

## To the leaderboard

It takes models of the hub. Upload the student (`distill push`), write its name on the hub and the commit into
`model_meta.py` and the folders and files of `results/`, add the record to mteb's `model_implementations`, and send
`results/` to the repository embeddings-benchmark/results.

## What is not here

- fields of the record that the run does not know: {unknown}
{missing}
Made with rerank-distill {__version__}.
"""
