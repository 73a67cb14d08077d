"""How fast a cross-encoder scores pairs here, against sentence-transformers' own `predict`, in one process.

    python benchmarks/encoders/scoring.py MODEL [--pairs 256] [--rounds 3] [--data FOLDER] [--onnx]

MODEL is an encoder's folder, such as `make real-base MODEL=minilm` makes; it gets a head of random weights, which costs
what a trained one does. FOLDER is a BEIR folder of this machine, by default the embedded example's test split. Each
round runs `CrossEncoder.predict` (batches of 32) and `Reranker.predict` in float32 and bfloat16, and with `--onnx` the
exported graph in onnxruntime, one after another on the same pairs in the same order; the medians are printed as JSON,
with each one's ratio to `predict`, and how far the logits are apart.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from distill.example.world import WorldSettings, write_beir
from distill.prompts import query_text
from distill.records import Pair, make_pair
from distill.rerank import Reranker
from distill.store import read_json, write_json
from distill.texts import passage_text


def pairs_of(folder: Path, count: int) -> list[Pair]:
    """The first pairs that the folder's test qrels judge."""
    queries, corpus = (
        {row["_id"]: row for row in map(json.loads, (folder / name).read_text(encoding="utf-8").splitlines())}
        for name in ("queries.jsonl", "corpus.jsonl")
    )
    pairs: list[Pair] = []
    for line in (folder / "qrels/test.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, doc, _ = line.split("\t")
        asked, text = queries[query], corpus[doc]
        passage = passage_text(text.get("title"), text["text"])
        pairs.append(make_pair(query, doc, asked["text"], passage, asked.get("instruction")))
    return pairs[:count]


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--pairs", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--onnx", action="store_true")
    given = parser.parse_args()
    import torch

    from sft.encoder_base import cross_encoder

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "encoder"
        torch.manual_seed(0)
        cross_encoder(given.model).save_pretrained(str(folder), create_model_card=False)
        write_json(folder / "distill.json", {"target": "encoder", "mode": "direct", "kind": "encoder"})
        data = given.data
        if data is None:
            write_beir(
                Path(made) / "world", 0, WorldSettings(queries={"train": 1, "dev": 1, "test": given.pairs // 9 + 1})
            )
            data = Path(made) / "world" / "test"
        pairs = pairs_of(data, given.pairs)
        print(json.dumps(measured(folder, pairs, given.rounds, given.onnx), indent=2))


def measured(folder: Path, pairs: list[Pair], rounds: int, onnx: bool) -> dict[str, object]:
    """Pairs/s of each way of scoring, in turn in each round."""
    from sft.encoder_base import cross_encoder

    own = cross_encoder(str(folder))
    texts = [(query_text(pair.query, pair.instruction), pair.passage) for pair in pairs]
    ways: dict[str, Callable[[], list[float]]] = {"predict": lambda: own.predict(texts).tolist()}
    for dtype in ("float32", "bfloat16"):
        reranker = Reranker(str(folder), dtype=dtype, calibration=None)
        ways[dtype] = lambda reranker=reranker: [row.margin for row in reranker.predict(pairs)]  # type: ignore[misc]
    if onnx:
        ways["onnx"] = by_onnx(folder, texts)
    for way in ways.values():
        way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    logits: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            logits[name] = way()
            seconds[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    config = read_json(folder / "config.json") or {}
    return {
        "pairs": len(pairs),
        "layers": config["num_hidden_layers"],
        "width": config["hidden_size"],
        "pairs_per_s": {name: round(len(pairs) / value, 1) for name, value in medians.items()},
        "ratio_to_predict": {name: round(medians["predict"] / value, 2) for name, value in medians.items()},
        "furthest_logit": {
            name: max(abs(a - b) for a, b in zip(values, logits["predict"], strict=True))
            for name, values in logits.items()
        },
    }


def by_onnx(folder: Path, texts: list[tuple[str, str]]) -> Callable[[], list[float]]:
    """Batches of 32 by length through the exported graph."""
    import onnxruntime
    from transformers import AutoTokenizer

    from distill.rerank import exports
    from distill.rerank.exports.base import student_of

    out = folder.parent / "onnx"
    out.mkdir()
    exports.load("onnx").write(student_of(folder), out)
    session = onnxruntime.InferenceSession(out / "model.onnx", providers=["CPUExecutionProvider"])
    tokenizer = AutoTokenizer.from_pretrained(out)
    names = [each.name for each in session.get_inputs()]
    order = sorted(range(len(texts)), key=lambda at: -sum(map(len, texts[at])))

    def run() -> list[float]:
        found = [0.0] * len(texts)
        for start in range(0, len(order), 32):
            some = order[start : start + 32]
            queries, passages = zip(*(texts[at] for at in some), strict=True)
            batch = tokenizer(list(queries), list(passages), padding=True, return_tensors="np")
            for at, margin in zip(some, session.run(None, {name: batch[name] for name in names})[0], strict=True):
                found[at] = float(margin)
        return found

    return run


if __name__ == "__main__":
    main()
