"""Errors of the disk: one line with the path, exit 3 where going on helps, 2 where another place is needed."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from distill.cli import main
from distill.disk import disk_fault
from distill.errors import DiskFull, DiskRefused, InputError

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
name: tiny
pairs: {source: example, example: {queries: {train: 3, dev: 1, test: 1}}}
teacher: {source: example}
filters: [finished]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {made.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize(
    ("number", "kind", "exit_code"),
    [
        (errno.ENOSPC, DiskFull, 3),
        (errno.EDQUOT, DiskFull, 3),
        (errno.EFBIG, DiskFull, 3),
        (errno.EIO, DiskFull, 3),
        (errno.EROFS, DiskRefused, 2),
        (errno.EACCES, DiskRefused, 2),
        (errno.EPERM, DiskRefused, 2),
        (errno.ENOTDIR, DiskRefused, 2),
    ],
)
def test_the_number_decides_and_the_path_is_named(number: int, kind: type, exit_code: int) -> None:
    fault = disk_fault(OSError(number, "x", "some/file"), Path("elsewhere"))
    assert isinstance(fault, kind) and fault.exit_code == exit_code
    assert str(fault).startswith("some/file: ") and "\n" not in str(fault)


def torch_error(folder: Path) -> Exception:
    return RuntimeError("[enforce fail at inline_container.cc:862] . PytorchStreamWriter failed writing file data/0")


def arrow_error(folder: Path) -> Exception:
    import pyarrow as pa

    return pa.ArrowException("IOError: [Errno 28] Error writing bytes to file. Detail: [errno 28] No space left")


def sqlite_error(folder: Path) -> Exception:
    return sqlite3.OperationalError("database or disk is full")


def wrapped_error(folder: Path) -> Exception:
    """Under two others, the outer one of no meaning."""
    inner = OSError(errno.ENOSPC, "No space left on device")
    middle = ExceptionGroup("threads", [ValueError("another"), inner])
    outer = KeyError("outer")
    outer.__cause__ = middle
    return outer


def ray_error(folder: Path) -> Exception:
    from ray.exceptions import RayTaskError

    cause = OSError(errno.ENOSPC, "No space left on device")
    return RayTaskError("f", "Traceback ...", cause, None, "0.0.0.0", 1, "actor")


@pytest.mark.parametrize(
    "make", [torch_error, arrow_error, sqlite_error, wrapped_error, ray_error], ids=lambda make: make.__name__
)
def test_what_libraries_raise_without_a_path_names_the_folder_of_the_command(make: object, tmp_path: Path) -> None:
    fault = disk_fault(make(tmp_path), tmp_path / "run")  # type: ignore[operator]
    assert isinstance(fault, DiskFull) and str(fault).startswith(f"{tmp_path / 'run'}: no space left on the device")


def test_weights_and_tokenizers_on_a_full_disk(small_disk: Path) -> None:
    """As safetensors, torch and tokenizers raise it themselves."""
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models

    weights = {"weight": torch.zeros(100_000)}
    words = Tokenizer(models.WordLevel({f"word{n}": n for n in range(20_000)}, "word0"))
    for save in (
        lambda: save_file(weights, small_disk / "model.safetensors"),
        lambda: torch.save(weights, small_disk / "model.pt"),
        lambda: words.save(str(small_disk / "tokenizer.json")),
    ):
        with pytest.raises(Exception) as caught:
            save()
        fault = disk_fault(caught.value, small_disk)
        assert isinstance(fault, DiskFull) and str(fault).startswith(f"{small_disk}"), repr(caught.value)


def test_what_is_not_of_the_disk_stays_what_it_is(tmp_path: Path) -> None:
    others = [
        KeyError("x"),
        OSError(errno.ECONNREFUSED, "Connection refused"),
        FileNotFoundError(errno.ENOENT, "No such file", str(tmp_path / "nowhere")),
        PermissionError(errno.EACCES, "Permission denied"),  # of a socket: nothing here is forbidden
        InputError("the data says: No space left on device"),
        ValueError("row 3 says [Errno 28]"),
    ]
    assert [disk_fault(other, tmp_path) for other in others] == [None] * len(others)


def test_of_a_copy_the_place_it_goes_to_is_named(small_disk: Path, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"0" * 200_000)
    with pytest.raises(OSError) as caught:
        shutil.copy2(tmp_path / "weights", small_disk / "copy")
    assert str(disk_fault(caught.value)).startswith(f"{small_disk / 'copy'}: no space left")


def test_a_link_to_nothing_is_named_with_its_target(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link = tmp_path / "runs"
    link.symlink_to(tmp_path / "unmounted")
    for out in (link, link / "a" / "b"):
        assert main(["pairs", str(config), "--out", str(out)]) == 2
        printed = capsys.readouterr().err
        assert f"distill: {link}: is a link to {tmp_path / 'unmounted'}, which does not exist" in printed
        assert printed.count("distill:") == 1


def test_a_file_in_the_place_of_a_folder(tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pairs", str(config), "--out", str(config / "run")]) == 2
    assert f"{config}" in capsys.readouterr().err


def test_a_full_disk_loses_nothing(small_disk: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first stage does not fit; with more space the same command goes on."""
    out = small_disk / "run"
    (small_disk / "ballast").write_bytes(b"0" * 50_000)
    assert main(["pairs", str(config), "--out", str(out)]) == 3
    printed = capsys.readouterr().err
    assert f"distill: {out}" in printed and "no space left on the device; free some" in printed
    (small_disk / "ballast").unlink()
    subprocess.run(["mount", "-o", "remount,size=4m", small_disk], check=True)
    assert main(["pairs", str(config), "--out", str(out)]) == 0


def test_a_read_only_disk(small_disk: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    out = small_disk / "run"
    assert main(["pairs", str(config), "--out", str(out)]) == 2
    assert capsys.readouterr().err == (
        f"distill: {out}: the file system is read-only; make it writable, or name another place\n"
    )


def test_a_table_on_a_full_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("the system has no /dev/full")
    (tmp_path / "qrels").write_text("q 0 d 1\n")
    (tmp_path / "run.trec").write_text("q Q0 d 1 1 x\n")
    words = ["--qrels", str(tmp_path / "qrels"), "--run", str(tmp_path / "run.trec"), "--measure", "AP"]
    assert main(["evaluate", *words, "--markdown", "/dev/full"]) == 3
    assert "no space left on the device" in capsys.readouterr().err


def test_a_limit_on_the_size_of_files(tmp_path: Path, config: Path) -> None:
    """As batch systems set it; in a process of its own, since the limit cannot be raised again."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))\n"
        "from distill.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "pairs", str(config), "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 3, done.stderr
    assert "the limit on the size of files is reached (ulimit -f)" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission(tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    assert main(["pairs", str(config), "--out", str(closed / "run")]) == 2
    assert f"{closed / 'run'}: no permission" in capsys.readouterr().err
