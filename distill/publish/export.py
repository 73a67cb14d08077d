"""Write a run's kept traces in a format, with its card; the same for the dataset stage and for `distill export`."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from distill import config, store
from distill.errors import InputError, RunFolderError
from distill.publish import formats
from distill.publish.card import render
from distill.publish.rows import Kept
from distill.publish.settings import DatasetSettings
from distill.publish.tally import tally


def export(
    run: Path, to: str, out: Path, settings: DatasetSettings | None = None, hub_name: str | None = None
) -> dict[str, Any]:
    """Replace `out` by the run's kept traces in the format `to`, with README.md and a manifest.

    Returns {"format", "folder", "rows": {split: n}, "left_out": {reason: n}, "notes": [sentence], "judged": whether the
    labels are the answers, without a reasoning}. `settings` default to those in the run's config.yaml; `hub_name` is
    what the card tells to load. `out` is replaced at the end, by one rename, so a kill leaves the earlier export whole.
    Raises InputError for an unknown format or a run without kept traces, RunFolderError where `out` holds something
    that is not an export of ours, DataError where rows cannot be read.
    """
    try:
        format_ = formats.load(to)
    except KeyError:
        raise InputError(f"--to {to}: no such format; there are {', '.join(formats.FORMATS)}") from None
    kept = Kept(run)
    raw = config.resolved(run) or {}
    if settings is None:
        settings = config.validate(DatasetSettings, dict(raw.get("dataset") or {}), run / "config.yaml")
    name = settings.name or str(raw.get("name") or run.resolve().name)
    found = tally(kept)
    if not found.rows:
        raise InputError(
            f"{run / 'kept'}: no trace was kept, so there is nothing to write; see the report for the reasons"
        )
    check_room(out)
    out = out.resolve()
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    written = format_.write(kept, partial, name)
    without = {"kept traces without a verdict": found.without_verdict} if found.without_verdict else {}
    left_out = {**written.left_out, **without}
    written = replace(
        written, left_out=left_out, use=written.use.replace("{address}", hub_name or "path/to/this/folder")
    )
    (partial / "README.md").write_text(render(run, found, written, settings, name, to == "dataset"), encoding="utf-8")
    inputs = {folder: (store.read_manifest(run / folder) or {})["fingerprint"] for folder in ("pairs", "kept")}
    result = {"rows": written.rows, "left_out": left_out, "judged": found.judged}
    store.write_manifest(partial, f"export:{to}", inputs, settings.model_dump(mode="json"), result)
    if out.exists():
        shutil.rmtree(out)
    partial.rename(out)
    return {"format": to, "folder": str(out), **result, "notes": found.notes()}


def check_room(out: Path) -> None:
    """Raises RunFolderError where `out` may not be replaced."""
    if out.exists() and not out.is_dir():
        raise RunFolderError(f"{out}: is a file; choose a folder with --out")
    if out.exists() and any(out.iterdir()):
        manifest = store.read_manifest(out) or {}
        if not str(manifest.get("stage", "")).startswith("export:"):
            raise RunFolderError(f"{out}: is not empty and not an export of ours; choose another folder with --out")
