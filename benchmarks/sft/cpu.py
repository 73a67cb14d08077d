"""Training speed on a CPU: TRL's defaults, this project's trainer, and a loop written by hand on the same batches.

    OMP_NUM_THREADS=1 python benchmarks/sft/cpu.py [--rounds 3] [--seconds 8] [--only ours,loop] [--json FILE]

A student of 1.4 million parameters and rows as long as Rank1's (sft/estimate/lengths.json: prompt 118, trace 270
tokens in the mean). Each way trains for about `--seconds` in every round, the rounds interleaved, so that a busy
machine hurts all alike; real tokens a second, padding not counted, medians over the rounds. One thread.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from measure import assumed_rows, dataset, tokens_per_second

ROWS, BATCH, VOCAB = 2048, 16, 1024


def rows() -> list[tuple[list[int], int]]:
    """(ids, prompt tokens) of every row."""
    return assumed_rows(ROWS, VOCAB)


def model_and_tokenizer() -> tuple[Any, Any]:
    """The student and a byte-level BPE tokenizer of its vocabulary."""
    from sft.scratch import ScratchSettings, new_model, train_tokenizer

    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(2000)]
    tokenizer = train_tokenizer([" ".join(rng.choices(words, k=20)) for _ in range(2000)], VOCAB)
    if len(tokenizer) != VOCAB:
        raise SystemExit(f"the tokenizer has {len(tokenizer)} tokens, not {VOCAB}")
    shape = ScratchSettings(vocab_size=VOCAB, layers=4, width=160, heads=5, kv_heads=5, ffn=480, max_positions=2048)
    return new_model(tokenizer, shape), tokenizer


def trl(seconds: float, **changes: Any) -> float:
    """TRL's SFTTrainer as it comes, but for `changes`; rows are tokens already, as in every way here."""
    from trl import SFTConfig, SFTTrainer

    model, tokenizer = model_and_tokenizer()
    with tempfile.TemporaryDirectory() as folder:
        plain: dict[str, Any] = {"report_to": "none", "disable_tqdm": True, "save_strategy": "no", "use_cpu": True}
        config = SFTConfig(output_dir=folder, logging_steps=10, **{**plain, **changes})
        trainer = SFTTrainer(model, config, train_dataset=dataset(rows()), processing_class=tokenizer)
        return tokens_per_second(trainer, seconds)


def ours(seconds: float, packing: bool = False) -> float:
    """The trainer as `distill sft` runs it on a CPU."""
    from trl import SFTConfig

    from sft.train import CPU_DEFAULTS, DEFAULTS
    from sft.trainer import StudentTrainer

    model, tokenizer = model_and_tokenizer()
    with tempfile.TemporaryDirectory() as folder:
        own = {**DEFAULTS, **CPU_DEFAULTS, "save_strategy": "no", "seed": 0, "data_seed": 0, "packing": packing}
        batch = {
            "per_device_train_batch_size": 1 if packing else BATCH,
            "gradient_accumulation_steps": 6 if packing else 1,
        }
        config = SFTConfig(output_dir=folder, max_length=1024, **own, **batch)
        lengths = [len(ids) for ids, _ in rows()]
        data = dataset(rows())
        trainer = StudentTrainer(model, config, train_dataset=data, processing_class=tokenizer, order_lengths=lengths)
        return tokens_per_second(trainer, seconds)


def batches() -> Iterator[list[int]]:
    """The order in which `ours` takes its rows, epoch after epoch."""
    from sft.trainer import PairOrder

    order = PairOrder([len(ids) for ids, _ in rows()], BATCH, 0)
    epoch = 0
    while True:
        order.set_epoch(epoch)
        taken = list(order)
        yield from (taken[i : i + BATCH] for i in range(0, len(taken), BATCH))
        epoch += 1


def loop(seconds: float) -> float:
    """Forty lines of torch: the same batches, the head on target positions only, AdamW, clipping, cosine."""
    import torch

    model, tokenizer = model_and_tokenizer()
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, fused=True)
    given = rows()
    began = rate = 0.0
    tokens = 0
    for step, chosen in enumerate(batches(), 1):
        longest = max(len(given[i][0]) for i in chosen)
        pad = tokenizer.pad_token_id
        ids = torch.tensor([given[i][0] + [pad] * (longest - len(given[i][0])) for i in chosen])
        labels = torch.tensor(
            [[-100] * given[i][1] + given[i][0][given[i][1] :] + [-100] * (longest - len(given[i][0])) for i in chosen]
        )
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
        mask = labels[:, 1:] != -100
        loss = torch.nn.functional.cross_entropy(model.lm_head(hidden[mask]), labels[:, 1:][mask])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        now = time.perf_counter()
        if step == 2:
            began = now
        elif step > 2:
            tokens += sum(len(given[i][0]) for i in chosen)
            rate = tokens / (now - began)
            if now - began > seconds:
                break
    return rate


WAYS: dict[str, Callable[[float], float]] = {
    "trl": lambda s: trl(s),
    "trl, fp32, no checkpointing": lambda s: trl(s, bf16=False, gradient_checkpointing=False),
    "trl, packing": lambda s: trl(s, packing=True, per_device_train_batch_size=1, gradient_accumulation_steps=6),
    "ours": lambda s: ours(s),
    "ours, packing": lambda s: ours(s, packing=True),
    "loop": loop,
}


def main() -> None:
    """Measure, print a table, write the baseline where told."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--only", default="", help="names of ways, by commas")
    parser.add_argument("--json", type=Path)
    parsed = parser.parse_args()
    import datasets
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    torch.set_num_threads(1)
    names = [name for name in WAYS if not parsed.only or name in parsed.only.split(",")]
    rates: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(parsed.rounds):
        for name in names:
            rates[name].append(WAYS[name](parsed.seconds))
    found = {name: round(statistics.median(each)) for name, each in rates.items()}
    print("| way | real tokens/s | against TRL's defaults | against the loop |\n|---|---|---|---|")
    for name, rate in found.items():
        against = [f"{rate / found[peer]:.2f}" if peer in found else "" for peer in ("trl", "loop")]
        print(f"| {name} | {rate:,} | {against[0]} | {against[1]} |")
    if parsed.json:
        made = {
            "command": f"python benchmarks/sft/cpu.py --rounds {parsed.rounds} --seconds {parsed.seconds:g}",
            "machine": f"{platform.machine()}, {platform.processor() or 'CPU'}, one thread",
            "date": time.strftime("%Y-%m-%d"),
            "torch": torch.__version__,
            "tokens_per_s": found,
            "rounds": {name: [round(rate) for rate in each] for name, each in rates.items()},
        }
        parsed.json.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
