"""A student's rows as token ids, encoded once into a memory-mapped Arrow file in its folder. Called by `sft.train`.

All workers of a node, and a training that goes on after a kill, read the same file; it goes when the student is done.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.errors import DataError
from distill.prompts import END_THINK, PROMPTS
from distill.records import Example
from distill.store import file_hash, filesystem, fingerprint, parquet_files, read_json, read_rows, write_json
from sft.tokens import encode

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

FOLDER, ROWS, INDEX = "encoded", "rows.arrow", "rows.json"
CHUNK = 2048  # rows encoded together
VERSION = 1  # of the file's form


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """The rows of one student that are trained on whole, in the order of its examples.

    `dataset` has the columns pair_id, input_ids (ended by the tokenizer's end-of-text), prompt_tokens (of them, without
    loss) and weight. Of all `total` examples `rejected` are [(pair_id, reason)] of the others, `relevant_share` is
    the share whose verdict is relevant. `seconds` is what encoding took.
    """

    dataset: Dataset
    total: int
    rejected: list[tuple[str, str]]
    relevant_share: float
    seconds: float

    def lengths(self) -> np.ndarray:
        """Tokens of each row."""
        import pyarrow.compute as pc

        lengths: np.ndarray = pc.list_value_length(self.dataset.data.column("input_ids")).to_numpy()
        return lengths

    def prompt_tokens(self) -> np.ndarray:
        """Tokens of each row without a loss."""
        tokens: np.ndarray = self.dataset.data.column("prompt_tokens").to_numpy()
        return tokens

    def pair_ids(self) -> Iterator[str]:
        """The pair of each row."""
        for batch in self.dataset.data.column("pair_id").chunks:
            yield from batch.to_pylist()

    def weight_scale(self) -> float | None:
        """What the rows' weights are multiplied by, so that their mean over all tokens with a loss is 1.

        None where all rows weigh the same. Raises DataError where they add up to nothing.
        """
        weights = self.dataset.data.column("weight").to_numpy()
        if len(weights) == 0 or (weights == weights[0]).all():
            return None
        counts = self.lengths() - self.prompt_tokens()
        total: float = sum(weight * count for weight, count in zip(weights.tolist(), counts.tolist(), strict=True))
        if total <= 0:
            raise DataError("the examples' weights add up to 0: nothing would be trained")
        return int(counts.sum()) / total


def labelled(ids: list[int], prompt_tokens: int, weight: float, scale: float | None) -> dict[str, list[Any]]:
    """A row as TRL takes it: no label on the prompt, and a weight a token where rows weigh differently."""
    row: dict[str, list[Any]] = {"input_ids": ids, "labels": [-100] * prompt_tokens + ids[prompt_tokens:]}
    return row if scale is None else {**row, "token_weights": [weight * scale] * len(ids)}


def labelled_rows(rows: Dataset, scale: float | None) -> Dataset:
    """All rows so, in a file next to theirs: for packing, which joins rows whole."""

    def labels(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        columns = zip(batch["input_ids"], batch["prompt_tokens"], batch["weight"], strict=True)
        made = [labelled(ids, prompt_tokens, weight, scale) for ids, prompt_tokens, weight in columns]
        return {name: [row[name] for row in made] for name in made[0]}

    return rows.map(labels, batched=True, remove_columns=["pair_id", "prompt_tokens", "weight"])


def encoded_rows(tokenizer: Any, examples: str, out: Path, max_length: int, prompt: str) -> EncodedRows:
    """The rows of the folder `examples`, encoded into `out`/encoded unless they are there, by one process at a time.

    Raises DataError where the tokenizer cannot carry the verdicts.
    """
    folder = out / FOLDER
    key = fingerprint([VERSION, _tokenizer_hash(tokenizer), prompt, max_length, _rows_hash(examples)])
    with _alone(folder):
        index = read_json(folder / INDEX)
        if not isinstance(index, dict) or index.get("key") != key:
            (folder / INDEX).unlink(missing_ok=True)
            for old in folder.glob("*.arrow"):
                old.unlink()
            index = _encode(tokenizer, examples, folder / ROWS, max_length, prompt)
            write_json(folder / INDEX, {"key": key, **index})
    from datasets import Dataset

    dataset = Dataset.from_file(str(folder / ROWS))
    rejected = [(pair_id, reason) for pair_id, reason in index["rejected"]]
    return EncodedRows(dataset, index["total"], rejected, index["relevant_share"], index["seconds"])


def remove(out: Path) -> None:
    """Remove the encoded rows of a student that is done."""
    shutil.rmtree(out / FOLDER, ignore_errors=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder while other processes of this machine wait; where the storage has no locks, nobody waits."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as handle:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _encode(tokenizer: Any, examples: str, path: Path, max_length: int, prompt: str) -> dict[str, Any]:
    """Write the file of rows, and return what else is known of them."""
    import pyarrow as pa

    started, scale = time.monotonic(), PROMPTS[prompt]
    relevant_words = scale.verdicts[scale.relevant_from :]
    total = ends = relevant = 0
    rejected: list[tuple[str, str]] = []
    ids = pa.list_(pa.int32())
    schema = pa.schema(
        [("pair_id", pa.string()), ("input_ids", ids), ("prompt_tokens", pa.int32()), ("weight", pa.float64())]
    )
    rows = read_rows(examples, Example)
    part = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with pa.OSFile(str(part), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        while chunk := list(islice(rows, CHUNK)):
            good, bad = encode(tokenizer, chunk, max_length, prompt)
            total += len(chunk)
            rejected += bad
            answers = [row.completion.partition(END_THINK)[2] for row in chunk if END_THINK in row.completion]
            said = [answer.split("\n")[0] for answer in answers]
            ends += len(said)
            relevant += sum(word in relevant_words for word in said)
            tokens, offsets = array("i"), array("i", [0])
            for row in good:
                tokens.extend(row.input_ids)
                offsets.append(len(tokens))
            columns = [
                pa.array([row.pair_id for row in good], pa.string()),
                pa.ListArray.from_arrays(_int32(offsets), _int32(tokens)),
                pa.array([row.prompt_tokens for row in good], pa.int32()),
                pa.array([row.weight for row in good], pa.float64()),
            ]
            if good:
                writer.write_batch(pa.record_batch(columns, schema=schema))
    os.replace(part, path)
    share = relevant / max(1, ends)
    seconds = round(time.monotonic() - started, 2)
    return {"total": total, "rejected": rejected, "relevant_share": share, "seconds": seconds}


def _int32(values: array[int]) -> Any:
    import numpy as np
    import pyarrow as pa

    return pa.array(np.frombuffer(values, np.int32) if values else np.zeros(0, np.int32))


def _rows_hash(folder: str) -> str:
    fs, inner = filesystem(folder)
    return fingerprint([file_hash(fs.unstrip_protocol(path)) for path in parquet_files(fs, inner)])


def _tokenizer_hash(tokenizer: Any) -> str:
    """The hash of all files that the tokenizer is saved as."""
    with tempfile.TemporaryDirectory(prefix="distill-tokenizer-") as folder:
        tokenizer.save_pretrained(folder)
        return fingerprint([(path.name, file_hash(path)) for path in sorted(Path(folder).rglob("*")) if path.is_file()])
