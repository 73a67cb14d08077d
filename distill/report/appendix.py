"""How to make it again: the configuration, and each stage's inputs, settings and package versions."""

from __future__ import annotations

from typing import Any

import yaml

from distill.report.files import RunFiles
from distill.report.words import clean, cut
from distill.stages import STAGES

MAX_TEXT = 20_000


def section(files: RunFiles) -> dict[str, Any]:
    """Manifests in the stages' order, versions, the configuration's text, and links to the files."""
    stages = [(stage, files.manifests[stage.folder]) for stage in STAGES if stage.folder in files.manifests]
    versions: dict[str, str] = {}
    for _, manifest in stages:
        versions |= manifest.get("versions") or {}
    config = files.run / "config.yaml"
    return {
        "versions": versions,
        "config": cut(config.read_text(encoding="utf-8", errors="replace"), MAX_TEXT) if config.is_file() else "",
        "links": files.links((name, name) for name in ("config.yaml", "metrics.json", "log.jsonl")),
        "stages": [
            {
                "title": stage.title,
                "folder": stage.folder,
                "href": files.link(stage.folder, "manifest.json"),
                "written": manifest.get("written", ""),
                "fingerprint": str(manifest.get("fingerprint", ""))[:12],
                "inputs": [(clean(k), cut(v, 60)) for k, v in list((manifest.get("inputs") or {}).items())[:12]],
                "settings": cut(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True), MAX_TEXT)
                if (settings := manifest.get("settings"))
                else "",
            }
            for stage, manifest in stages
        ],
    }
