"""An S3 server (moto's) on this machine, spoken to by s3fs as any other, and a bucket for each test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Its URL, in the environment by which s3fs finds any storage."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    given = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    yield given["AWS_ENDPOINT_URL"]
    server.stop()
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


@pytest.fixture
def s3(s3_server: str) -> Any:
    """The file system, as the project sees it."""
    import s3fs

    return s3fs.S3FileSystem(skip_instance_cache=False)


@pytest.fixture
def bucket(s3: Any, request: pytest.FixtureRequest) -> str:
    """The URL of an empty bucket."""
    import uuid

    name = f"b-{uuid.uuid4().hex[:12]}"
    s3.mkdir(name)
    return f"s3://{name}"
