"""A planted key: sent to the endpoint, and to be found nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distill.cli import main
from distill.errors import EndpointError
from teacher.stage import trace
from tests.teacher.helpers import Server, make_pairs, own_run, settings_for

Serve = Callable[..., Server]
pytestmark = pytest.mark.usefixtures("ray_here")
KEY = "planted-k3y-0123456789"  # of no known shape: nothing but knowing it can take it out


def files_with_key(*folders: Path) -> list[Path]:
    """Files below the folders in which the key stands."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert files
    return [path for path in files if KEY.encode() in path.read_bytes()]


def what_ray_knows() -> tuple[Path, str]:
    """The folder with Ray's logs, and what its tables say of jobs and actors."""
    from ray._private import state
    from ray._private.worker import _global_node

    assert _global_node is not None
    known = state.jobs(), state.actors(), state.state.node_table(), state.state.cluster_resources()
    return Path(_global_node.get_session_dir_path()), str(known)


def test_of_the_stage(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PLANTED", KEY)
    server = serve("500=0.2,bad=0.1,malformed=0.1")
    endpoint = {"base_url": server.url, "model": "bench", "api_key_env": "PLANTED"}
    settings = settings_for(server, endpoints=[endpoint])
    events: list[dict[str, Any]] = []
    trace(make_pairs(40), settings, tmp_path / "traces", notify=events.append)
    assert set(server.get("/stats")["keys"]) == {f"Bearer {KEY}"}
    server.change(faults={"auth": 1})  # a server that quotes the key back
    with pytest.raises(EndpointError) as refused:
        trace(make_pairs(60), settings, tmp_path / "traces")
    assert "PLANTED" in str(refused.value) and "[key]" in str(refused.value)
    shown = "".join([*capfd.readouterr(), str(refused.value), repr(refused.value), str(events), repr(settings)])
    logs, tables = what_ray_knows()
    assert KEY not in shown + settings.model_dump_json() + tables
    assert not files_with_key(tmp_path, logs)


def test_of_a_worker_that_breaks(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import ray

    monkeypatch.setenv("PLANTED", KEY)
    server = serve()
    settings = settings_for(server, endpoints=[{"base_url": server.url, "model": "bench", "api_key_env": "PLANTED"}])

    class Broken:
        """Stands for any bug of ours within an actor."""

        def __init__(self, *arguments: Any) -> None:
            self.arguments = arguments

        async def exchange(self, *arguments: Any) -> None:
            """Fails with all it holds in the message."""
            raise RuntimeError(f"a bug: {self.arguments}")

    monkeypatch.setattr("teacher.actors.WorkerActor", Broken)
    with pytest.raises(ray.exceptions.RayTaskError) as broken:
        trace(make_pairs(4), settings, tmp_path / "traces")
    logs, _ = what_ray_knows()
    assert "a bug" in str(broken.value)
    assert KEY not in str(broken.value) + "".join(capfd.readouterr())
    assert not files_with_key(tmp_path, logs)


def test_of_the_command(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PLANTED", KEY)
    server = serve("bad=0.3")
    config = own_run(tmp_path, server, api_key_env="PLANTED")
    out = tmp_path / "run"
    statuses = [main([stage, str(config), "--out", str(out)]) for stage in ("pairs", "trace", "filter", "report")]
    assert statuses == [0, 0, 0, 0]
    assert main(["trace", str(config), "--out", str(out), "--dry-run", f"teacher.endpoints.0.model={KEY[:4]}"]) == 0
    server.change(faults={"auth": 1})
    assert main(["trace", str(config), "--out", str(out), "teacher.temperature=0.1"]) == 2
    assert main(["trace", str(config), "--out", str(out), f"teacher.endpoints.0.base_url=http://u:{KEY}@h/v1"]) == 2
    assert set(server.get("/stats")["keys"]) == {f"Bearer {KEY}"}
    logs, tables = what_ray_knows()
    said = "".join(capfd.readouterr())
    assert "unauthorized" in said and KEY not in said + tables
    assert {"config.yaml", "log.jsonl", "metrics.json", "report.html"} <= {path.name for path in out.iterdir()}
    assert not files_with_key(tmp_path, logs)
