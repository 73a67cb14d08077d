"""`--out s3://...`: finished stages are copied there, another machine takes them up, of two jobs one has the run."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import pytest

from distill import url_lease
from distill.cli import main
from distill.errors import Stopped
from distill.pipeline import mirror
from distill.pipeline.mirror import Mirror
from distill.store import read_manifest
from distill.url_lease import UrlLease
from tests.object_storage.test_inputs import another, config, make, write_data

STAGES = ("pairs", "trace", "filter", "dataset")


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of its own."""
    another(tmp_path / "machine", monkeypatch)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A configuration whose inputs are local."""
    write_data(tmp_path / "data")
    return config(tmp_path / "config", str(tmp_path / "data"))


def command(stage: str, path: Path, out: str) -> int:
    """One stage's command with that --out."""
    return main([stage, str(path), "--out", out])


def names(s3: Any, url: str) -> set[str]:
    """What lies at the run's URL, leases left out."""
    s3.invalidate_cache()
    prefix = f"{url.removeprefix('s3://')}/"
    return {name.removeprefix(prefix) for name in s3.find(url) if "lease-" not in name}


def test_another_machine_takes_up_what_is_finished(
    path: Path, bucket: str, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    out = f"{bucket}/runs/one"
    for stage in STAGES[:3]:
        assert command(stage, path, out) == 0
    there = names(s3, out)
    assert {"config.yaml", "metrics.json", "log.jsonl", "pairs/manifest.json", "kept/part-00000.parquet"} <= there
    assert {"rejected/part-00000.parquet", "kept/.mirror.json", "traces/manifest.json"} <= there
    assert not (tmp_path / "s3:").exists() and not (tmp_path / "runs").exists()

    another(tmp_path / "second", monkeypatch)
    capsys.readouterr()
    for stage in STAGES:
        assert command(stage, path, out) == 0
    said = capsys.readouterr().err
    assert f"taken up from {out}: " in said and said.count("taken up") == 1
    assert [f"{stage}: unchanged" in said for stage in STAGES] == [True, True, True, False]

    another(tmp_path / "machine", monkeypatch)  # the first one sees what the second has made
    assert command("dataset", path, out) == 0
    assert "dataset: unchanged" in capsys.readouterr().err
    local = tmp_path / "local"
    make(path, local, *STAGES)
    mine = Mirror(out, print).folder
    for folder in ("pairs", "traces", "kept", "dataset"):
        ours, theirs = read_manifest(local / folder), read_manifest(mine / folder)
        assert ours is not None and theirs is not None
        assert (
            ours["result"]["data_hash"] == theirs["result"]["data_hash"]
            and ours["fingerprint"] == theirs["fingerprint"]
        )


def test_a_stage_made_again_replaces_the_other_machines_and_what_gives_way_is_kept(
    path: Path, bucket: str, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = f"{bucket}/one"
    assert command("pairs", path, out) == 0
    first = read_manifest(Mirror(out, print).folder / "pairs")
    another(tmp_path / "second", monkeypatch)
    assert main(["pairs", str(path), "seed=5", "pairs.negatives=none", "--out", out]) == 0
    second = read_manifest(Mirror(out, print).folder / "pairs")
    another(tmp_path / "machine", monkeypatch)
    assert main(["pairs", str(path), "seed=5", "pairs.negatives=none", "--out", out]) == 0
    folder = Mirror(out, print).folder
    assert first is not None and second is not None and first["result"] != second["result"]
    assert read_manifest(folder / "pairs") == second and read_manifest(folder / ".replaced" / "pairs") == first


@pytest.mark.parametrize("indexes", [0, 1, 2])
def test_a_copy_that_was_cut_short_is_not_taken_up(
    indexes: int, path: Path, bucket: str, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    out = f"{bucket}/one"
    assert command("pairs", path, out) == 0
    assert command("trace", path, out) == 0
    written: list[str] = []
    write = mirror.store.write_json

    def cut(place: str | Path, value: Any) -> None:
        if str(place).startswith(out) and str(place).endswith("/.mirror.json"):
            if len(written) == indexes:
                raise Stopped("the machine is gone")
            written.append(str(place))
        write(place, value)

    with monkeypatch.context() as patch:
        patch.setattr(mirror.store, "write_json", cut)
        assert command("filter", path, out) == 3
    assert len(written) == indexes and not any("kept" in place for place in written)
    another(tmp_path / "second", monkeypatch)
    capsys.readouterr()
    assert command("filter", path, out) == 0
    said = capsys.readouterr().err
    assert "taken up from" in said and "filter: unchanged" not in said
    another(tmp_path / "third", monkeypatch)
    assert command("filter", path, out) == 0
    assert "filter: unchanged" in capsys.readouterr().err


def test_of_two_jobs_one_has_the_run(
    path: Path, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(url_lease, "RENEW_S", 0.3)
    monkeypatch.setattr(url_lease, "LOOK_S", 0.1)
    out = f"{bucket}/one"
    with UrlLease(out, tmp_path / "other"):
        assert command("pairs", path, out) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"distill: {out}: in use by process ")
    assert threading.active_count() < 50
    assert command("pairs", path, out) == 0


def test_the_dry_run_and_a_foreign_run(path: Path, bucket: str, s3: Any, tmp_path: Path, capsys: Any) -> None:
    out = f"{bucket}/one"
    assert main(["pairs", str(path), "--out", out, "--dry-run"]) == 0
    assert re.search(r"^pairs +to do ", capsys.readouterr().out, re.M) and names(s3, out) == set()
    assert command("pairs", path, out) == 0
    assert main(["pairs", str(path), "name=another", "--out", out]) == 2
    assert "holds the run 'x', this configuration is 'another'" in capsys.readouterr().err
    assert main(["pairs", str(path), "--out", "s3://no-such-bucket-at-all/one"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("distill: s3://no-such-bucket-at-all/one: not there")


def test_batch_files_would_lie_on_one_machine_alone(path: Path, bucket: str, capsys: Any) -> None:
    endpoint = "{base_url: 'http://127.0.0.1:9/v1', model: m, price: {}}"
    words = ["teacher.source=batch", f"teacher.endpoints=[{endpoint}]", "--out", f"{bucket}/one"]
    assert main(["trace", str(path), *words]) == 2
    assert "teacher.source: batch keeps its files in the run's folder" in capsys.readouterr().err
