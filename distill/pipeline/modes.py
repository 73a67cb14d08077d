"""One student asked in several modes: its systems, its calibration on a development set, and what the modes cost.

Part of the evaluation stage. A set is judged in every mode of `evaluation.modes`; on the set `evaluation.calibrate_on`
each student is calibrated, and mode adaptive's window chosen, before any other set is judged.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill import store
from distill.errors import ConfigError
from distill.evaluation.settings import SetSettings
from distill.files.qrels import Qrels
from distill.pipeline import scoring
from distill.pipeline.run import Run
from distill.records import Judgement, Pair
from sft.student_settings import StudentSettings
from sft.targets import pair_target

if TYPE_CHECKING:
    from distill.rerank.fusion import Fusion
    from distill.rerank.scorer import Scorer

Judged = Mapping[str, Collection[Judgement]]


def modes_of(run: Run, student: StudentSettings) -> dict[str, str]:
    """{system: mode} of one student that are judged: those of the configuration, else its target's."""
    only = run.config.evaluation.systems
    return {system: mode for system, mode in all_modes(run, student).items() if only is None or system in only}


def judges_untrained(run: Run) -> bool:
    """Whether the untrained base is judged: where it is named, else next to students that write or if none reranks."""
    only, students = run.config.evaluation.systems, run.config.sft.students
    if only is not None:
        return "untrained" in only
    writes = any(pair_target(student.target) is None for student in students)
    return writes or not any(all_modes(run, student) for student in students)


def all_modes(run: Run, student: StudentSettings) -> dict[str, str]:
    """{system: mode} of one student, whether `evaluation.systems` leaves it out or not."""
    from sft.targets import target_of

    if not target_of(student.target).reranks:
        return {}
    wanted = run.config.evaluation.modes.get(student.name)
    if wanted:
        return {f"{student.name}.{mode.replace(':', '_')}": mode for mode in wanted}
    modes = target_of(student.target).modes
    return {student.name if len(modes) == 1 else f"{student.name}.{mode}": mode for mode in modes}


def check_systems(run: Run) -> None:
    """Raise ConfigError where `evaluation.systems` names no system, or adaptive without those that it is set up by."""
    only = run.config.evaluation.systems or ()
    known = ["untrained", *(name for student in run.config.sft.students for name in all_modes(run, student))]
    for name in only:
        if name not in known:
            raise ConfigError(f"evaluation.systems: {name!r} is none of {', '.join(known)}")
    for student in run.config.sft.students:
        kept = set(modes_of(run, student).values())
        if "adaptive" in kept and not {"think", "direct"} <= kept:
            raise ConfigError(
                f"evaluation.systems: {student.name}.adaptive is set up by think and direct; name them too"
            )


def in_order(run: Run) -> list[SetSettings]:
    """The evaluation sets, the one to calibrate on first."""
    first = run.config.evaluation.calibrate_on
    return sorted(run.config.evaluation.sets, key=lambda each: each.name != first)


def due(run: Run, set_name: str, mode: str) -> bool:
    """Whether a mode is judged on a set: adaptive needs its window first, and so is not on the set that chooses it."""
    return mode != "adaptive" or set_name != run.config.evaluation.calibrate_on


def calibrate(
    run: Run, judged: Judged, qrels: Qrels, relevant_from: int, fusion: Mapping[str, Fusion] | None = None
) -> dict[str, Any]:
    """Fit each student's calibration.json on the judgements of the development set; {student: checks}.

    `fusion`, by system, is saved with it.
    """
    from distill.errors import InputError
    from distill.rerank.calibration import FILE, write
    from distill.rerank.fitting import from_judgements

    found: dict[str, Any] = {}
    for student in run.config.sft.students:
        of = modes_of(run, student)
        mine = {mode: judged[system] for system, mode in of.items() if system in judged}
        if not mine:
            continue  # evaluation.systems leaves it out
        path = run.students / student.name / FILE
        path.unlink(missing_ok=True)  # one of earlier answers must not outlive them
        try:
            made = from_judgements(mine, qrels, run.config.evaluation.calibration, relevant_from, _both(of))
        except InputError as error:
            run.say(f"  {student.name}: not calibrated ({error})")
            continue
        made.fusion.update({mode: fusion[system] for system, mode in of.items() if fusion and system in fusion})
        write(path, made)
        found[student.name] = made.checks
    return found


def recheck(run: Run, scorer: Scorer, pairs: Sequence[Pair], qrels: Qrels, relevant_from: int) -> None:
    """Check each student's saved calibration on the same pairs under `evaluation.calibration_instructions`, and save
    what was found with it; nothing is fitted anew."""
    from distill.rerank.calibration import FILE, check, read, write
    from distill.rerank.fitting import off, sides
    from distill.rerank.jobs import with_instruction

    evaluation = run.config.evaluation
    jobs, meant = [], {}
    for student in run.config.sft.students:
        folder = run.students / student.name
        for mode in modes_of(run, student).values() if (folder / FILE).exists() else ():
            for number, text in enumerate(evaluation.calibration_instructions):
                if mode != "adaptive":
                    asked = with_instruction([pair for pair in pairs if pair.query_id in qrels], text)
                    name = f"{student.name}.{mode}, instruction {number + 1}"
                    jobs.append(scoring.job_for(run, name, str(folder), mode, asked))
                    meant[name] = (folder / FILE, mode, text)
    scorer.notify = scoring.shown(run, evaluation.calibrate_on or "")
    found = {made.name: made.found for made in scorer.score(jobs)}
    for name, (path, mode, text) in meant.items():
        made = read(path)
        made.checks.append(check(made, mode, text, *sides(found[name], qrels, relevant_from)))
        write(path, made)
        if off(made, made.checks[-1]):
            run.say(f"  {name}: calibrated scores are off under {text!r}; see the report")


def describe(
    run: Run, judged: Judged, qrels: Qrels, relevant_from: int, seconds: Mapping[str, float]
) -> dict[str, Any]:
    """What the report draws: by student, each mode's tokens, pace, ECE before and after, bins, the curve of quality
    against tokens that other windows of mode adaptive would have given here, and how its calibration was checked."""
    from distill.rerank import adaptive
    from distill.rerank.calibration import FILE, read
    from distill.rerank.fitting import off, sides
    from distill.rerank.modes import score_of
    from distill.statistics.reliability import quality, reliability

    found: dict[str, Any] = {}
    for student in run.config.sft.students:
        of = {system: mode for system, mode in modes_of(run, student).items() if system in judged}
        path = run.students / student.name / FILE
        made = read(path) if path.exists() and run.config.evaluation.calibrate_on else None
        rows = {}
        for system, mode in of.items():
            margins, labels = sides(judged[system], qrels, relevant_from)
            tokens = forced = unparsable = 0
            scores = array("d")
            for judgement in judged[system]:
                if judgement.query_id in qrels:
                    scores.append(judgement.score)
                    tokens += judgement.tokens
                    forced += judgement.finish_reason in ("length", "no_end", "budget", "looped")
                    unparsable += judgement.verdict is None
            raw = array("d", map(score_of, margins))
            fitted = scores if mode == "adaptive" else None
            if made and mode in made.curves:
                fitted = array("d", (made.score(mode, margin) for margin in margins))
            rows[system] = {
                "mode": mode,
                "tokens_per_pair": round(tokens / max(1, len(scores)), 2),
                "pairs_per_s": round(len(judged[system]) / max(seconds[system], 1e-9), 1),
                "raw": None if mode == "adaptive" else {**quality(raw, labels), "bins": reliability(raw, labels)},
                "calibrated": {**quality(fitted, labels), "bins": reliability(fitted, labels)} if fitted else None,
                "forced": forced,
                "unparsable": unparsable,
            }
        checks = [{**each, "off": off(made, each)} for each in made.checks] if made else []
        one: dict[str, Any] = {"systems": rows, "curve": [], "checks": checks}
        by_mode = {mode: judged[system] for system, mode in of.items()}
        if made and made.window and _both(of):
            curves = (made.curves["adaptive.direct"], made.curves["adaptive.think"])
            tried = adaptive.outcomes(by_mode["direct"], by_mode["think"], qrels, curves, adaptive.saved(made))
            one["curve"] = [[round(o.tokens, 2), round(o.ndcg, 4)] for o in sorted(tried, key=lambda o: o.tokens)]
            limits = made.window
            one["window"] = [str(limits.low), str(limits.high), limits.top]
        found[student.name] = one
    return found


def write(out: Path, set_name: str, described: Mapping[str, Any]) -> None:
    """Write evaluation/SET.modes.json."""
    store.write_json(out / f"{set_name}.modes.json", dict(described))


def _both(of: Mapping[str, str]) -> bool:
    return {"think", "direct"} <= set(of.values())
