"""What the guides show is what the settings take."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from distill.config import validate
from teacher.prices import LISTS
from teacher.settings import TeacherSettings

DOCS = Path(__file__).resolve().parents[2] / "docs"
BLOCKS = [
    pytest.param(text, id=f"{name}-{number}")
    for name in ("teacher.md", "cluster.md", "redact.md")
    for number, text in enumerate(re.findall(r"^```yaml\n(.*?)^```$", (DOCS / name).read_text("utf-8"), re.M | re.S))
    if text.startswith("teacher:")
]
MODULES = dict(
    re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```$", (DOCS / "teacher.md").read_text("utf-8"), re.M | re.S)
)


@pytest.mark.parametrize("text", BLOCKS)
def test_a_guides_settings_are_taken(text: str, tmp_path: Path) -> None:
    for name, module in MODULES.items():
        (tmp_path / name).write_text(module)
    settings = validate(TeacherSettings, yaml.safe_load(text)["teacher"], tmp_path / "guide.yaml")
    assert settings.teacher_name


def test_every_source_has_an_example() -> None:
    shown = "".join(str(block.values[0]) for block in BLOCKS)
    named = set(re.findall(r"source: \"?([\w.:]+)", shown))
    assert named == {"vllm", "batch", "import", "mine.py:Mine"} and "endpoints:" in shown


def test_the_manifest_for_kuberay_is_yaml() -> None:
    manifest = re.findall(r"^```yaml\n(apiVersion.*?)^```$", (DOCS / "cluster.md").read_text("utf-8"), re.M | re.S)
    spec = yaml.safe_load(manifest[0])["spec"]
    assert spec["entrypoint"].startswith("distill run") and "--out /shared" in spec["entrypoint"]
    head, *workers = [
        group["template"]["spec"]["containers"][0]
        for group in (spec["rayClusterSpec"]["headGroupSpec"], *spec["rayClusterSpec"]["workerGroupSpecs"])
    ]
    assert head["env"][0]["valueFrom"]["secretKeyRef"], "the key, which the driver hands on"
    assert [group.get("env") for group in workers] == [None, None]
    assert [group["resources"]["requests"].get("nvidia.com/gpu") for group in (head, *workers)] == [None, None, "1"]
    mounts = [{"name": "shared", "mountPath": "/shared"}, {"name": "config", "mountPath": "/config"}]
    assert all(group["volumeMounts"] == mounts for group in (head, *workers)), "every node sees the run folder"


def test_the_guides_prices_are_those_of_the_code() -> None:
    rows = re.findall(
        r"^\|[^|]*\| ([^|]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|", (DOCS / "teacher.md").read_text("utf-8"), re.M
    )
    shown = {model: tuple(map(float, usd)) for models, *usd in rows for model in models.split(", ")}
    assert shown == {model: usd for known in LISTS for model, usd in known.models.items()}
