"""A misbehaving teacher as its own process, and one Ray for all tests of the room."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.teacher.helpers import SERVER, Server


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start servers: serve(faults="429=0.1", mean=0.01); ended after the test."""
    running: list[subprocess.Popen[str]] = []

    def start(faults: str = "", mean: float = 0.01, sigma: float = 0.0, tokens: int = 40, port: int = 0) -> Server:
        given = ["--faults", faults, "--mean", str(mean), "--sigma", str(sigma), "--tokens", str(tokens)]
        process = subprocess.Popen(
            [sys.executable, str(SERVER), "--port", str(port), *given], stdout=subprocess.PIPE, text=True
        )
        running.append(process)
        assert process.stdout is not None
        return Server(f"http://127.0.0.1:{process.stdout.readline().strip()}/v1")

    yield start
    for process in running:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture(scope="session")
def _ray_of_all() -> Iterator[None]:
    """Ends the Ray of these tests at their end."""
    yield
    import ray

    ray.shutdown()


@pytest.fixture
def ray_here(_ray_of_all: None) -> None:
    """A Ray of our own, shared by the tests and used by teacher.actors. Started anew when it was lost."""
    import ray

    from distill.ray_cluster import connect

    if ray.is_initialized() and not any(node["Alive"] for node in ray.nodes()):
        ray.shutdown()
    connect(4)
