"""The commands `distill export` and `distill push`: options, and what they print. `distill.cli` adds them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import click

from distill.commands import FILE, Command, writes_to
from distill.publish.formats import FORMATS
from distill.rerank.exports import FORMATS as STUDENT_FORMATS
from distill.tables import counted

MTEB = "mteb"
OF_STUDENTS = (*STUDENT_FORMATS, MTEB)


@click.command("export", cls=Command)
@click.argument(
    "run", type=FILE, metavar="RUN", help="a run folder whose filter stage is done; of a student its folder is enough"
)
@click.option(
    "--to",
    metavar="FORMAT",
    type=click.Choice([*FORMATS, *OF_STUDENTS]),
    help=f"of traces: {', '.join(FORMATS)} (default dataset); of a student: {', '.join(STUDENT_FORMATS)}; {MTEB}: "
    "its evaluation, for mteb's leaderboard",
)
@click.option(
    "--model",
    metavar="[STUDENT]",
    is_flag=False,
    flag_value="",
    help="a student instead: weights, tokenizer, model card; with --to as other servers load it",
)
@click.option(
    "--out", type=FILE, metavar="DIR", help="where to (default: RUN/export/FORMAT); an earlier export is replaced"
)
@click.option(
    "--push-to-hub", metavar="NAME", help="then upload it as the dataset or model NAME, with the token in HF_TOKEN"
)
@click.option("--public", is_flag=True, help="with --push-to-hub: visible to all; else private")
@click.option("--dry-run", is_flag=True, help="with --push-to-hub: say what would be sent, send nothing")
def export(
    run: Path, to: str | None, model: str | None, out: Path | None, push_to_hub: str | None, public: bool, dry_run: bool
) -> int:
    """The kept traces of a run in another tool's format, or a student as a model, with its card."""
    from distill.errors import InputError
    from distill.publish import hub
    from distill.publish.export import export as write
    from distill.publish.model import export_model, is_student

    if push_to_hub:
        hub.check_name(push_to_hub)
    elif public or dry_run:
        raise InputError("--public and --dry-run say how to push; name the dataset with --push-to-hub NAME")
    of_a_student = model is not None or to in OF_STUDENTS or is_student(run)
    to = None if to == "dataset" else to
    if of_a_student and to in FORMATS:
        raise InputError(f"--to {to} is a format of traces; of a student there are {', '.join(OF_STUDENTS)}")
    if push_to_hub and to == MTEB:
        raise InputError(
            f"--to {MTEB} writes results, which go to mteb's leaderboard and not to the hub; see README.md"
        )
    if of_a_student:
        name = f"model-{model or 'student'}" if to is None else f"{model or 'student'}-{to}"
        out = writes_to(out or run / "export" / name)
        shown: list[str] = []
        if to is None:
            student = export_model(run, model or "", out)
        else:
            student, shown = export_student(run, model or "", to, out)
        files = [path for path in out.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        print(f"{out}: student {student}, {counted(len(files), 'file')}, {counted(size, 'byte')}", flush=True)
        print("".join(f"  {text}\n" for text in shown), end="")
    else:
        to = to or "dataset"
        out = writes_to(out or run / "export" / to)
        made = write(run, to, out, hub_name=push_to_hub)
        print(f"{out}: {', '.join(f'{n:,} {split}' for split, n in made['rows'].items())} rows", flush=True)
        for why, n in made["left_out"].items():
            print(f"  left out: {n:,} {why}")
        if made["judged"]:
            print(
                "  judged pairs: the label is the answer, no row has a reasoning; train students that answer directly"
            )
    if push_to_hub:
        _push(out, push_to_hub, public, dry_run, "model" if of_a_student else "dataset")
    return 0


def export_student(run: Path, student: str, to: str, out: Path) -> tuple[str, list[str]]:
    """Write a student in a format other servers load, or its results for mteb; returns (its name, what to say of it).

    `out` is replaced at the end, by one rename, so what does not pass the check leaves an earlier export whole. Raises
    InputError for a student that the format cannot hold, or whose copy scores otherwise.
    """
    from distill import store
    from distill.publish.export import check_room
    from distill.publish.model import student_folder

    check_room(out)
    folder = student_folder(run, student)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as temporary:
        partial = Path(temporary) / out.name
        partial.mkdir()
        if to == MTEB:
            from distill.cli import mteb

            result, shown = mteb.write(run, folder, partial)
        else:
            result, shown = _write_weights(folder, to, partial, out)
        made_from = (store.read_manifest(folder) or {}).get("fingerprint", "")
        store.write_manifest(partial, f"export:{to}", {"student": made_from}, {}, result)
        if out.exists():
            shutil.rmtree(out)
        partial.rename(out)
    return folder.resolve().name, shown


def _write_weights(folder: Path, to: str, partial: Path, out: Path) -> tuple[dict[str, float], list[str]]:
    """The student and its card in the format, checked; (what the check found, what to say of it)."""
    from transformers.utils import logging

    from distill.publish.model import card
    from distill.rerank.exports import load
    from distill.rerank.exports.base import student_of
    from distill.rerank.exports.parity import check

    logging.disable_progress_bar()
    format_ = load(to)
    chosen = student_of(folder)
    format_.check(chosen)
    format_.write(chosen, partial)
    parity = check(chosen, format_, partial)
    use = f"{format_.use(chosen)}\n\nChecked when it was made: {parity.text()}."
    (partial / "README.md").write_text(card(folder, use, format_.library), encoding="utf-8")
    found = {"texts": parity.texts, "difference": parity.difference, "tolerance": parity.tolerance}
    return found, [parity.text(), format_.serve(chosen, out)]


@click.command("push", cls=Command)
@click.argument("folder", type=FILE, metavar="FOLDER", help="an export, or a student's folder")
@click.argument("name", metavar="NAME", help="OWNER/NAME on the hub")
@click.option("--public", is_flag=True, help="visible to all; else private")
@click.option("--dry-run", is_flag=True, help="say what would be sent, send nothing")
def push(folder: Path, name: str, public: bool, dry_run: bool) -> int:
    """Upload an export or a student with its card to the Hugging Face hub, with the token in HF_TOKEN."""
    from distill import store
    from distill.errors import InputError
    from distill.publish import hub
    from distill.publish.model import export_model, is_student

    hub.check_name(name)
    made_by = str((store.read_manifest(folder) or {}).get("stage", ""))
    if made_by == f"export:{MTEB}":
        raise InputError(f"{folder}: holds results, which go to mteb's leaderboard; its README.md says how")
    if made_by.startswith("export:"):
        _push(folder, name, public, dry_run, "dataset" if made_by.removeprefix("export:") in FORMATS else "model")
    elif is_student(folder):
        with tempfile.TemporaryDirectory() as temporary:
            copy = Path(temporary) / folder.resolve().name
            export_model(folder, "", copy)
            _push(copy, name, public, dry_run, "model")
    else:
        raise InputError(f"{folder}: neither an export nor a student; `distill export RUN` makes one")
    return 0


def _push(folder: Path, name: str, public: bool, dry_run: bool, kind: str) -> None:
    from distill.publish import hub

    if dry_run:
        print("\n".join(hub.plan(folder, name, public, kind)))
    else:
        print(hub.push(folder, name, public, kind))
