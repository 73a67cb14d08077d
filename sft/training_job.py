"""What a training process is given to do, `job.json` in a student's folder: `sft.stage` makes it, `sft.train` does it.

A dictionary, since it goes from process to process as JSON.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from distill.answers import JsonObject


class TrainingJob(TypedDict):
    """One student to train: its name and target, the base, the folders of its rows and of what comes out.

    `dev` is the folder of the held-out pairs, `lengths` the file of the pairs' lengths, `settings` are those of `sft`,
    `training` is what goes on top of `sft.training`, and `events` the file that Ray's workers write their lines to.
    """

    name: str
    target: str
    base: str
    examples: str
    out: str
    dev: str
    seed: int
    threads: int
    settings: JsonObject
    base_hash: NotRequired[str]
    lengths: NotRequired[str]
    training: NotRequired[dict[str, Any]]
    fingerprint: NotRequired[str]
    events: NotRequired[str]
