"""TRL's GRPO: the prompts with what the rewards read, the rewards as modules, and a configuration to start.

A pair is one row. Where the run has a student by `grpo`, the configuration has its settings, and rewards of one's own
are copied. Rewards that need P(true) at the verdict are left out: TRL alone does not compute it.
"""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from distill import rewards
from distill.errors import PluginError
from distill.plugins import external_file, is_external, load_function
from distill.prompts import PROMPTS, prompt_in
from distill.publish.formats.base import ExportCounts, Row, by_split, config
from distill.publish.rows import Kept, KeptRow
from distill.store import read_json

BUDGET = 256  # tokens of an answer beyond which the reward `length` falls, where no student says another
DEFAULTS: dict[str, Any] = {
    "steps": 200, "prompts": 8, "generations": 8, "learning_rate": 1e-6, "beta": 0.0, "max_new_tokens": None,
    "temperature": 1.0, "reward": {"verdict": 1.0, "length": 0.1, "form": 0.1},
}  # fmt: skip
GRPO = """\
# In this folder, where the rewards' files are found:
#   trl grpo --config grpo.yaml --model_name_or_path {student}
dataset_name: prompts
output_dir: student
reward_funcs: [{functions}]
reward_weights: [{weights}]
learning_rate: {learning_rate}
max_steps: {steps}
beta: {beta}  # above 0: weight of the KL divergence from the model that training starts from
temperature: {temperature}
per_device_train_batch_size: {generations}
num_generations: {generations}
gradient_accumulation_steps: {prompts}
max_completion_length: {longest}
logging_steps: 1
report_to: none
"""
USE = """\
In this folder: `trl grpo --config grpo.yaml --model_name_or_path {student}`; without a GPU, add
`--bf16 False --use_cpu True`. {settings} `rewards.py` has the rewards of this project. {left_out}Start from a student
that writes the format: its prompt ends in `<think>`.\
"""


@dataclass(frozen=True, slots=True)
class Trained:
    """What a run's student by `grpo` was trained with: its folder's name, that of the SFT student, the settings under
    `then`, and what its distill.json says."""

    name: str
    start: str
    then: Mapping[str, Any]
    made: Mapping[str, Any]


def write(kept: Kept, out: Path, name: str) -> ExportCounts:
    """`prompts/{split}.jsonl`, `grpo.yaml`, `rewards.py`, and a copy of each file with a reward of one's own."""
    trained = _trained(kept.run)
    then = DEFAULTS | dict(trained.then if trained else {})
    made = trained.made if trained else {}
    functions, left_out = _functions(then["reward"], out)
    if not functions:  # all need what TRL alone has not
        functions, _ = _functions(DEFAULTS["reward"], out)
    budget = then.get("length_budget") or made.get("length_budget") or BUDGET
    rows = by_split(kept, out / "prompts", lambda row: _row(row, budget))
    student = f"RUN/students/{trained.start}" if trained else "path/to/an/SFT/student"  # RUN: the run's folder
    text = GRPO.format(
        student=student,
        functions=", ".join(functions),
        weights=", ".join(f"{weight:g}" for weight in functions.values()),
        longest=then["max_new_tokens"] or made.get("longest_trace") or 512,
        learning_rate=yaml.safe_dump(float(then["learning_rate"])).split()[0],  # 1.0e-06: YAML reads 1e-06 as text
        **{key: then[key] for key in ("steps", "beta", "temperature", "generations", "prompts")},
    )
    (out / "grpo.yaml").write_text(text, encoding="utf-8")
    (out / "rewards.py").write_text(inspect.getsource(rewards), encoding="utf-8")
    said = f"Its settings are those of the run's student `{trained.name}`." if trained else "Its settings are a start."
    if own := sorted({name.partition(".")[0] for name in functions if not name.startswith("rewards.")}):
        said += f" {', '.join(f'`{module}.py`' for module in own)}: one's own; what it imports has to be installed."
    use = USE.format(student=student, settings=said, left_out=_why(left_out))
    return ExportCounts(rows, [config("prompts", rows, "prompts/{split}.jsonl")], use)


def _trained(run: Path) -> Trained | None:
    """The run's first student by `grpo`, in the order of their names; None where it has none."""
    for path in sorted((run / "students").glob("*/job.json")):
        job = read_json(path) or {}
        if (then := job.get("then") or {}).get("method") == "grpo":
            return Trained(
                path.parent.name, Path(job["base"]).name, then, read_json(path.parent / "distill.json") or {}
            )
    return None


def _functions(weights: Mapping[str, float], out: Path) -> tuple[dict[str, float], dict[str, str]]:
    """({TRL's name of a reward: weight}, {reward that is left out: why}); copies the files of one's own to `out`."""
    found: dict[str, float] = {}
    left_out: dict[str, str] = {}
    for name, weight in weights.items():
        short = name.rpartition(":")[2]
        if not is_external(name):
            if name in rewards.ALONE:
                found[f"rewards.{name}"] = weight
            else:
                left_out[name] = "reads `p_true`"
            continue
        file = external_file(name, Path())
        try:
            reads = inspect.signature(load_function("reward", name)).parameters
        except PluginError:  # whose words name a folder of this machine, and the card is published
            left_out[short] = f"{file.name} is gone or does not run"
            continue
        if "p_true" in reads:
            left_out[short] = "reads `p_true`"
        elif (copy := out / file.name).exists() and copy.read_bytes() != file.read_bytes():
            left_out[short] = f"another file is called {file.name} too"
        elif not file.stem.isidentifier() or file.stem == "rewards":
            left_out[short] = f"{file.name} cannot be imported by that name"
        else:
            shutil.copy(file, out / file.name)
            found[f"{file.stem}.{short}"] = weight
    return found, left_out


def _why(left_out: Mapping[str, str]) -> str:
    """The card's sentences on rewards that are not in the configuration."""
    never = [name for name in rewards.BUILT_IN if name not in rewards.ALONE and name not in left_out]
    reasons = {**left_out, **dict.fromkeys(never, "reads `p_true`")}
    named = ", ".join(f"`{name}` ({why})" for name, why in reasons.items())
    return (
        f"Not in `grpo.yaml`: {named}. `p_true` is the model's own probability at the verdict, which TRL alone does "
        "not compute; `distill run` with `then: {method: grpo}` does. "
    )


def _row(row: KeptRow, budget: int) -> Row:
    """The columns that distill.rewards names and TRL does not make itself."""
    words = PROMPTS[prompt_in(row.prompt)].verdicts
    return {
        "prompt": row.prompt,
        "pair_id": row.pair_id,
        "query_id": row.query_id,
        "query": row.query,
        "passage": row.passage,
        "instruction": row.instruction,
        "grade": row.verdict,
        "label": row.verdict / (len(words) - 1),
        "words": list(words),
        "length_budget": budget,
    }
