"""The commands `distill rerank` and `distill calibrate`: options and output. `distill.cli` adds them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from distill.commands import FILE, INPUT, MODEL, Command, Several, only_one, writes_to
from distill.rerank.options import (
    MODES,
    EngineOptions,
    InputOptions,
    check_first,
    engine_options,
    first_option,
    input_options,
    journal_option,
    say,
)

if TYPE_CHECKING:
    from distill.rerank.calibration import Calibration, Method
    from distill.rerank.jobs import Student
    from distill.rerank.modes import Mode
    from distill.rerank.resumable_run import Fuse

MANY = 0.05  # a share of the answers from which a fault is a warning
FAULTS = {
    "unfinished": "reached its bound and was cut off; raise --max-new-tokens",
    "no_end": "ended before </think>; train longer, or in this mode: a higher --max-new-tokens does not help",
    "looped": "repeated itself and was ended; train longer, or on more varied traces",
    "unparsable": "was neither true nor false; see whether the student was trained with this prompt and mode",
}


@click.command("rerank", cls=Command)
@input_options
@click.option("--out", type=FILE, metavar="FILE", required=True, help="the reranked TREC run")
@click.option(
    "--judgements", type=FILE, metavar="DIR", help="Parquet with reasoning and scores (default: OUT.judgements)"
)
@click.option("--mode", type=click.Choice(MODES), help="how the student is asked (default: as it was trained)")
@first_option
@engine_options
@click.option(
    "--samples", type=int, default=1, metavar="N", help="sampled traces for a pair, scores averaged (default 1)"
)
@click.option("--temperature", type=float, default=0.6, metavar="T", help="of the samples (default 0.6)")
@click.option("--explanations", is_flag=True, help="mode verdict_first: write the reasons as well")
@click.option("--instruction", metavar="TEXT", help="for every query, in place of the queries' own; '' for none")
@click.option("--threshold", type=float, metavar="SCORE", help="leave passages below it out of the run")
@click.option("--precision", type=float, metavar="P", help="use the threshold that gave this precision")
@click.option("--recall", type=float, metavar="R", help="use the threshold that gave this recall")
@click.option(
    "--fuse", is_flag=True, help="rank by margin and first-stage score, weighted as distill calibrate has found"
)
@click.option(
    "--calibration", type=MODEL, metavar="FILE", help="default: the student's own calibration.json; 'none' for none"
)
@journal_option
def rerank(
    inputs: InputOptions,
    out: Path,
    judgements: Path | None,
    mode: Mode | None,
    first: str | None,
    engine: EngineOptions,
    samples: int,
    temperature: float,
    explanations: bool,
    instruction: str | None,
    threshold: float | None,
    precision: float | None,
    recall: float | None,
    fuse: bool,
    calibration: str | None,
    journal: Path | None,
) -> int:
    """Rerank a TREC run with a student; killed, the same command goes on from there."""
    only_one(threshold=threshold, precision=precision, recall=recall)
    from distill import store
    from distill.rerank.backends import BACKENDS
    from distill.rerank.calibration import read
    from distill.rerank.jobs import backend_identity, own_calibration, with_instruction
    from distill.rerank.resumable_run import rerank_run
    from distill.rerank.student_format import usual_mode

    folder = judgements or out.with_name(f"{out.name}.judgements")
    writes_to(out.parent)
    total, blocks = inputs.blocks()
    mode = mode or usual_mode(inputs.model)
    check_first(first, inputs.model, (mode,))
    student = engine.student(
        inputs.model,
        mode,
        calibration={None: own_calibration(inputs.model), "none": None}.get(calibration, calibration),
        samples=samples,
        temperature=temperature,
        explanations=explanations,
        first=first,
    ).resolved()
    curves = read(Path(student.calibration)) if student.calibration else None
    asked_first = _asked_first(student, curves) if mode == "adaptive" else None
    threshold = _threshold(student, curves, threshold, precision, recall)
    fused = _fuse(student, curves, inputs.run) if fuse else None
    made_from = {
        "model": _identity(inputs.model),
        "files": {name: store.file_hash(getattr(inputs, name)) for name in ("queries", "corpus", "run")},
        "backend": backend_identity(student.scoring),
        "calibration": store.fingerprint(curves) if curves else None,
        "depth": inputs.depth,
        "mode": mode,
        "samples": samples,
        "temperature": temperature,
        "max_new_tokens": student.max_new_tokens,
        "budget": engine.budget,
        "long": engine.long,
        "prompt": engine.prompt,
        "explanations": explanations,
        "instruction": instruction,
        **_dtype(student),
        **({} if engine.loops == "stop" else {"loops": engine.loops}),
        **({"first": asked_first} if asked_first else {}),
    }
    asked = f"mode {mode} after {first}" if first else f"mode {mode}"
    say(f"{inputs.model}: {asked}, backend {BACKENDS.load(student.backend).name}")
    with store.lease(folder):
        instructed = lambda: (with_instruction(block, instruction) for block in blocks())  # noqa: E731
        counts = rerank_run(student, instructed, total, out, folder, made_from, threshold, say, fused, journal)
    shown = {key: value for key, value in counts.items() if value or key in ("pairs", "written")}
    say("  ".join(f"{key.replace('_', ' ')} {value:,}" for key, value in shown.items()))
    if counts["pairs"] and not counts["written"]:
        say(f"warning: no passage reaches the threshold {threshold:g}, so the run is empty")
    for kind, words in FAULTS.items():
        if counts[kind] > MANY * counts["pairs"]:
            say(f"warning: more than one answer in twenty {words}")
    print(out)
    return 0


@click.command("calibrate", cls=Command)
@input_options
@click.option(
    "--qrels", type=INPUT, metavar="FILE", required=True, help="judgements of the development set, BEIR or TREC"
)
@click.option("--relevant-from", type=int, default=1, metavar="G", help="the lowest relevant grade (default 1)")
@click.option("--mode", cls=Several, type=click.Choice(MODES), help="one or several (default: as it was trained)")
@first_option
@click.option(
    "--method", type=click.Choice(("temperature", "platt", "isotonic")), default="platt", help="default platt"
)
@click.option(
    "--instruction",
    metavar="TEXT",
    multiple=True,
    help="check the calibration again under this instruction; may be given several times",
)
@click.option("--out", type=FILE, metavar="FILE", help="default: calibration.json in the student's folder")
@journal_option
@engine_options
def calibrate(
    inputs: InputOptions,
    qrels: Path,
    relevant_from: int,
    mode: tuple[Mode, ...],
    first: str | None,
    method: Method,
    instruction: tuple[str, ...],
    out: Path | None,
    journal: Path | None,
    engine: EngineOptions,
) -> int:
    """Fit a student's scores to judged pairs, and save the fit in its folder as calibration.json."""
    from distill.errors import InputError
    from distill.files.qrels import read_qrels
    from distill.inputs import is_copy
    from distill.rerank.calibration import FILE as NAME
    from distill.rerank.calibration import without, write
    from distill.rerank.fitting import fitted
    from distill.rerank.jobs import first_identity, with_instruction
    from distill.rerank.judging import judging
    from distill.rerank.student_format import usual_mode

    if out is None and is_copy(inputs.model):
        raise InputError("--model is a URL, where no calibration is written; name --out FILE")
    check_first(first, inputs.model, mode)
    out = out or Path(inputs.model) / NAME
    writes_to(out.parent)
    if out.is_dir():
        raise InputError(f"{out}: is a folder; --out names the file of the calibration")
    if not out.parent.is_dir():
        raise InputError(f"{out.parent}: no such folder; a hub model's calibration needs --out FILE")
    judged = read_qrels(qrels)
    pairs = inputs.judged_pairs(judged, qrels)
    kept = journal or out.with_name(f"{out.name}.journal")
    student = engine.student(inputs.model, "think", first=first)
    with judging(student, kept, say) as judge:
        calibration = fitted(
            judge,
            pairs,
            judged,
            mode or (usual_mode(inputs.model),),
            method,
            relevant_from=relevant_from,
            templates={text: with_instruction(pairs, text) for text in instruction},
            first=inputs.scores(judged),
            budget=engine.budget,
            say=say,
        )
    if student.first is not None:  # the direct answers are another student's, and of no use to this one's mode direct
        without(calibration, "direct")
        calibration.made_from["first"] = first_identity(student.first)
    write(out, calibration)
    if journal is None:
        kept.unlink(missing_ok=True)
    print(out)
    return 0


def _asked_first(student: Student, calibration: Calibration | None) -> dict[str, str] | None:
    """Who answers first in mode adaptive, None where it is the student itself.

    Raises InputError where the calibration is of another: the scores of two students are on one scale by it alone.
    """
    from distill.errors import InputError
    from distill.rerank.jobs import first_identity

    of = calibration.made_from.get("first") if calibration and calibration.window else None
    if student.first is None:
        if of:
            raise InputError(f"{student.model}: calibrated with --first {of['model']}; name it, or calibrate anew")
        return None
    asked = first_identity(student.first)
    if not of or of["weights"] != asked["weights"]:
        made = f"it was with {of['model']}, or other weights of it" if of else "it was not"
        raise InputError(
            f"--first {student.first.model}: {student.model} has to be calibrated with it ({made}): `distill calibrate "
            "--mode adaptive --first` puts both students' scores on one scale, and chooses where to think"
        )
    return asked


def _fuse(student: Student, calibration: Calibration | None, run: Path) -> Fuse:
    """How margins and the run's scores become one score. Raises InputError where no weight was chosen for the mode."""
    from distill.errors import InputError
    from distill.rerank.files import scores_on_disk
    from distill.rerank.fusion import fuse

    curve = f"budget:{student.budget}" if student.mode == "budget" else student.mode
    chosen = calibration.fusion.get(curve) if calibration else None
    if chosen is None:
        raise InputError(
            f"--fuse: no weight of the first stage was chosen for {student.model} in mode {curve}; "
            f"`distill calibrate` chooses it on the judged pairs of a development set"
        )
    say(f"fused: {chosen.text()}")
    scores_of, weight = scores_on_disk(run), chosen.weight
    return lambda query, margins: fuse(margins, scores_of(query), weight)


def _threshold(
    student: Student,
    calibration: Calibration | None,
    threshold: float | None,
    precision: float | None,
    recall: float | None,
) -> float | None:
    """The threshold wanted, or the one of this precision or recall. Warns of a calibration that does not fit."""
    from distill.errors import InputError

    curve = f"budget:{student.budget}" if student.mode == "budget" else student.mode
    if curve == "adaptive" and not (calibration and calibration.window):
        say("warning: where to think was never chosen for this student; distill calibrate --mode adaptive does that")
    if calibration and curve not in (known := calibration.points):
        say(f"warning: calibrated in mode {', '.join(known)}, not in {curve}: its scores stay as they are")
    for name, value in {"threshold": threshold, "precision": precision, "recall": recall}.items():
        if value is not None and not 0 <= value <= 1:
            raise InputError(f"--{name} {value:g}: a number from 0 to 1")
    if precision is None and recall is None:
        return threshold
    if calibration is None:
        raise InputError(f"{student.model}: has no calibration.json; `distill calibrate` makes it from judged pairs")
    threshold = calibration.threshold(curve, precision=precision, recall=recall)
    say(f"threshold: {threshold:.4f}")
    return threshold


def _dtype(student: Student) -> dict[str, str]:
    """The dtype where it is not the one that all judgements had before it could be chosen."""
    from distill.rerank.backends.loading import device_of

    dtype = student.scoring.dtype
    before = "float32" if student.backend == "transformers" and device_of(student.device).type == "cpu" else "bfloat16"
    return {} if dtype == "auto" or (student.backend == "transformers" and dtype == before) else {"dtype": dtype}


def _identity(model: str) -> str | dict[str, list[int]]:
    """A student's name, and the size and time of its files where it is a folder: to see that it was trained again."""
    folder = Path(model)
    if not folder.is_dir():
        return model
    files = sorted(p for p in folder.iterdir() if p.suffix in (".safetensors", ".json", ".bin") and p.is_file())
    return {p.name: [p.stat().st_size, p.stat().st_mtime_ns] for p in files if p.name != "calibration.json"}
