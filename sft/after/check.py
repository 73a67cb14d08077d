"""What would end a training after SFT, looked for before the teacher is asked. `distill.pipeline.check` calls it.

Nothing here loads weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distill.errors import ConfigError
from distill.plugins import is_external
from distill.prompts import PROMPTS
from distill.store import read_json
from sft.after.train import different_vocabulary, fewer_rows, reward_function
from sft.settings import SftSettings


def check_teachers(settings: SftSettings) -> None:
    """Raise ConfigError for a teacher of `on_policy` that cannot teach: no model's folder, or another vocabulary.

    With `base: scratch` the tokenizer is made in the run, of at most as many tokens as the settings say: such a
    student, and a base on a hub, are compared when training begins.
    """
    for folder in {then.teacher for student in settings.targets for then in student.then if then.teacher}:
        config = read_json(Path(folder) / "config.json")
        if not isinstance(config, dict):
            raise ConfigError(f"then.teacher: {folder} is no model's folder: it has no config.json")
        if settings.base != "scratch" and Path(settings.base).is_dir():
            _check_against(folder, _rows(config), settings)


def try_rewards(settings: SftSettings) -> None:
    """Call each reward of one's own on two made-up answers, a whole one and one that was cut, with every column that
    `distill.rewards` names. Raises PluginError for what it raises, or returns wrongly."""
    words = list(PROMPTS[settings.prompt].verdicts)
    columns: dict[str, list[Any]] = {
        "prompts": ["Query: a\n<think>"] * 2, "completions": [f"\nIt fits.\n</think>{words[-1]}", "\nIt"],
        "completion_ids": [[1, 2, 3], [1]], "pair_id": ["1", "2"], "query_id": ["1", "1"], "query": ["a", "a"],
        "passage": ["b", "c"], "instruction": [None, None], "grade": [len(words) - 1, 0], "label": [1.0, 0.0],
        "words": [words] * 2, "length_budget": [100] * 2, "p_true": [0.9, None],
    }  # fmt: skip
    for name in filter(is_external, settings.rewards):
        reward_function(name)(**columns)


def _check_against(folder: str, rows: int, settings: SftSettings) -> None:
    from sft.student import load_tokenizer

    own = load_tokenizer(settings.base, settings)
    if load_tokenizer(folder, settings).get_vocab() != own.get_vocab():
        raise ConfigError(different_vocabulary(folder))
    needed = max(len(own), _rows(read_json(Path(settings.base) / "config.json") or {}))
    if rows < needed:
        raise ConfigError(fewer_rows(folder, rows, needed))


def _rows(config: dict[str, Any]) -> int:
    return int(config.get("vocab_size") or (config.get("text_config") or {}).get("vocab_size") or 0)
