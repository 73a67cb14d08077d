"""Speed and memory of what comes after SFT on one GPU: the three methods with Qwen2.5-1.5B's exact shape.

    python benchmarks/after/gpu.py --json gpu-after.json      # one call, at most nine minutes
    python benchmarks/after/gpu.py --quick                    # a tiny shape, on a CPU: does the script work

Nothing is fetched, and neither vLLM nor Ray is needed: weights are random and made on the device (the teacher of
`on_policy` has the shape of Qwen2.5-7B), transformers writes the answers, the trainers are this project's own. Prompts
and answers have the lengths of sft/estimate/lengths.json (Rank1's): random weights never close a reasoning, so each
answer is made to end with `</think>`, a verdict and end-of-text at a length drawn from there. A step has 64 answers, 16
go through the model together unless the line says otherwise. Each line is a process of its own, so that one that runs
out of memory leaves the others; what the time does not reach is said. One step of short answers warms up and does not
count, then as many are measured as begin within --each seconds.

    written tokens/s   tokens of answers in a second of writing
    of it writing      share of a step that is writing; the rest is P(true), the teaching side, loss and optimizer
    trained tokens/s   tokens of prompts and answers in a second of the rest
    estimated          what `distill run --dry-run` says for this device, with everything else at its default

The wheels to carry are those of benchmarks/sft/gpu.py. SFT itself is measured there.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "sft"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout need not be installed

from measure import LONGEST, found_by

from benchmarks.sft.gpu import SHAPES, random_model, shape_of_config

QUERY = "which word is it"
TEACHERS = {"1.5b": "7b", "tiny": "tiny"}
PROMPTS = {"grpo": 8, "on_policy": 64, "self_distil": 64}  # 64 answers a step each: grpo has 8 to a prompt
STEPS = 200  # more than the time lasts: the first checkpoint, at a tenth of them, is never reached
WARM = 16  # tokens of the answers that warm up
# (name, what is trained, `then`), the most important first.
LINES: list[tuple[str, str, dict[str, Any]]] = [
    ("grpo, LoRA", "lora", {"method": "grpo"}),
    ("on_policy, LoRA", "lora", {"method": "on_policy"}),
    ("self_distil, LoRA", "lora", {"method": "self_distil"}),
    ("grpo, full", "full", {"method": "grpo"}),
    ("on_policy, full", "full", {"method": "on_policy"}),
    ("self_distil, full", "full", {"method": "self_distil"}),
    ("grpo, LoRA, all 64 answers together", "lora", {"method": "grpo", "batch": 64}),
    ("grpo, full, beta 0.001", "full", {"method": "grpo", "beta": 0.001}),
]
QUICK = (0, 1, 5, 7)  # of them, what together takes every way through the script
COLUMNS = {
    "written_per_s": "written tokens/s", "step_s": "seconds a step", "writing": "of it writing",
    "trained_per_s": "trained tokens/s", "peak_gib": "peak GiB", "estimated_gib": "estimated GiB",
    "estimated_step_s": "estimated seconds a step", "steps": "steps measured",
}  # fmt: skip


class Writing:
    """`generate` of a model whose answers end at drawn lengths; counts the seconds it takes."""

    def __init__(self, model: Any, tokenizer: Any, lengths: list[int], wait: Any) -> None:
        self.generate, self.lengths, self.wait = model.generate, lengths, wait
        self.ending = [*tokenizer.encode("</think> true", add_special_tokens=False), tokenizer.eos_token_id]
        self.rng, self.seconds, self.warm = random.Random(0), 0.0, False
        model.generate = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`generate`, timed."""
        import torch
        from transformers import LogitsProcessorList

        prompts = kwargs["input_ids"]
        count, read = prompts.shape
        drawn = self.rng.choices(self.lengths, k=count) if self.warm else [WARM] * count
        lengths = torch.tensor(drawn, device=prompts.device)

        def ends(ids: Any, scores: Any) -> Any:
            left = lengths - (ids.shape[1] - read)
            for place, token in enumerate(self.ending):
                here = left == len(self.ending) - place
                scores = scores.masked_fill(here[:, None], float("-inf"))
                scores[:, token] = torch.where(here, 0.0, scores[:, token])
            return scores

        self.wait()
        began = time.perf_counter()
        written = self.generate(*args, logits_processor=LogitsProcessorList([ends]), **kwargs)
        self.wait()
        self.seconds += time.perf_counter() - began
        self.warm = True
        return written


def tasks(count: int, shrink: int) -> tuple[list[Any], list[int]]:
    """(tasks of random words, four a query; answers' lengths in tokens), Rank1's lengths divided by `shrink`."""
    from benchmarks.rerank.gpu import WORDS
    from distill.prompts import student_prompt
    from sft.after.tasks import Task
    from sft.estimate.lengths import assumed

    rng, rows, lengths = random.Random(0), [], []
    for row in assumed(count, "think"):
        if row.whole <= LONGEST:
            number = len(rows)
            passage = " ".join(rng.choices(WORDS, k=max(1, row.prompt // shrink - 30)))  # 30: the prompt's own words
            reasoning = " ".join(rng.choices(WORDS, k=row.completion // shrink))
            prompt = student_prompt(QUERY, passage)
            rows.append(Task(f"{number}", f"q{number // 4}", QUERY, passage, None, prompt, number % 2, reasoning))
            lengths.append(max(8, row.completion // shrink))
    return rows, lengths


def one(shape: str, kind: str, given: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Train for about so many seconds after the warm-up; the columns of the table."""
    import resource

    import torch
    from datasets import disable_progress_bars
    from transformers import TrainerCallback

    from benchmarks.rerank.gpu import WORDS
    from distill.prompts import prompt_ids, student_prompt
    from sft.after.progress import AfterProgress, WellFormed
    from sft.after.rollouts import Rollouts
    from sft.after.settings import ThenSettings
    from sft.after.tasks import in_order
    from sft.after.train import trainer_of
    from sft.scratch import train_tokenizer
    from sft.settings import SftSettings

    disable_progress_bars()
    sys.modules["vllm"] = None  # transformers writes the answers, also where vLLM is installed
    cuda, quick = torch.cuda.is_available(), shape == "tiny"
    wait = torch.cuda.synchronize if cuda else lambda: None
    rows, lengths = tasks(400, 10 if quick else 1)
    more = {"teacher": "the larger shape"} if given["method"] == "on_policy" else {}
    prompts = PROMPTS[given["method"]] // (4 if quick else 1)
    count = prompts * (8 if given["method"] == "grpo" else 1)
    then = ThenSettings.model_validate(
        {"steps": STEPS, "prompts": prompts, "batch": min(16, count), **given, **more,
         **({"batch": count} if given.get("batch") else {})}
    )  # fmt: skip
    settings = SftSettings.model_validate(
        {"base": "Qwen/Qwen2.5-1.5B", "lora": {} if kind == "lora" else None,
         "targets": [{"target": "think", "then": then.model_dump()}]}
    )  # fmt: skip
    text = " ".join(WORDS)
    tokenizer = train_tokenizer([student_prompt(QUERY, text)], 1000)
    torch.manual_seed(0)
    dtype = torch.bfloat16 if cuda and kind == "lora" else torch.float32
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    vocabulary = SHAPES[shape]["vocab_size"]

    def made(shape: str) -> Any:
        return random_model(shape, dtype, vocab_size=vocabulary, **ids)

    # In full training TRL reads the SFT student again from its folder: here it is made again.
    import trl.experimental.sdft.sdft_trainer as sdft
    import trl.trainer.grpo_trainer as grpo

    sdft.create_model_from_path = grpo.create_model_from_path = lambda *_, **__: made(shape)
    model = made(shape)
    teacher = made(TEACHERS[shape]) if more else None
    writing = Writing(model, tokenizer, lengths, wait)
    points: list[tuple[float, float, int, int]] = []  # (time, seconds written, tokens written, tokens read)

    class Clock(TrainerCallback):
        """Looks at the time after each step."""

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            wait()
            step = [row for row in kept.fresh if row.step == state.global_step]
            read = sum(len(ids) for ids in prompt_ids(tokenizer, [row.prompt for row in step]))
            points.append((time.perf_counter(), writing.seconds, sum(row.tokens for row in step), read))
            if len(points) > 1 and points[-1][0] - points[0][0] > seconds:
                control.should_training_stop = True
            return control

    with tempfile.TemporaryDirectory() as folder:
        kept = Rollouts(Path(folder))
        progress = AfterProgress({"student": shape}, lambda _: None, kept, WellFormed(), then)
        job: Any = {"out": folder, "seed": 0}
        ordered = in_order(rows, STEPS, then.prompts, then.per_query, 0)
        trainer = trainer_of(then, settings, job, model, tokenizer, ordered, max(lengths), progress, teacher)
        trainer.add_callback(Clock())
        trainer.train()
    steps, whole = len(points) - 1, points[-1][0] - points[0][0]
    spent = points[-1][1] - points[0][1]
    written, read = (sum(point[part] for point in points[1:]) for part in (2, 3))
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    gib, step_s = _estimated(settings, model.config, rows, lengths, tokenizer)
    return {
        "written_per_s": round(written / spent), "step_s": round(whole / steps, 2), "writing": round(spent / whole, 3),
        "trained_per_s": round((written + read) / (whole - spent)), "steps": steps,
        "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30 if cuda else resident, 1),
        "estimated_gib": round(gib, 1), "estimated_step_s": None if step_s is None else round(step_s, 2),
        "prompt_tokens": round(read / steps / then.answers), "answer_tokens": round(written / steps / then.answers),
        "answers": then.answers, "batch": then.batch,
    }  # fmt: skip


def _estimated(
    settings: Any, config: Any, rows: list[Any], lengths: list[int], tokenizer: Any
) -> tuple[float, float | None]:
    """What the dry run says of the same student: (GiB at the peak, seconds a step)."""
    from statistics import fmean

    from distill.prompts import prompt_ids
    from sft.after.estimate import after_estimates
    from sft.estimate.estimate import TrainingData, estimates
    from sft.estimate.shapes import device_of

    device, shape = device_of(None), shape_of_config(config)
    of_sft = estimates(settings, TrainingData(None, {}, ""), shape, device)
    read = fmean(len(ids) for ids in prompt_ids(tokenizer, [row.prompt for row in rows]))
    (found,) = after_estimates(settings, of_sft, shape, device, (read, fmean(lengths)))
    return found.gib, None if found.hours is None else found.hours * 3600 / found.steps


def main() -> None:
    """Run the lines in turn, as long as the time lasts; print the table as it grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="four lines with a tiny shape, answers a tenth as long")
    parser.add_argument("--seconds", type=float, default=540, help="for everything (default: 540)")
    parser.add_argument("--each", type=float, help="seconds within which a line's steps begin (default: 20)")
    parser.add_argument("--first", type=int, default=0, help="the line to begin with, from 0, where a call ran out")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", type=int, help="internal: a line's number")
    parsed = parser.parse_args()
    shape, each = ("tiny", parsed.each or 1) if parsed.quick else ("1.5b", parsed.each or 20)
    if parsed.one is not None:
        _, kind, given = LINES[parsed.one]
        print("FOUND " + json.dumps(one(shape, kind, given, each)), flush=True)
        return
    ends, table = time.monotonic() + parsed.seconds, []
    print("| line | " + " | ".join(COLUMNS.values()) + " |\n" + "|---" * (len(COLUMNS) + 1) + "|", flush=True)
    for number in QUICK if parsed.quick else range(parsed.first, len(LINES)):
        name, _, _ = LINES[number]
        left = ends - time.monotonic()
        found: dict[str, Any] = {"failed": "not reached in the time"}
        if left > 20:
            command = [__file__, "--one", str(number), "--each", str(each)]
            found = found_by(command + ["--quick"] * parsed.quick, left)
        table.append({"line": name, "shape": shape, **found})
        cells = [found["failed"]] if "failed" in found else [str(found[key]) for key in COLUMNS]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
        if parsed.json:
            parsed.json.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
