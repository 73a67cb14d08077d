"""The encoder backend: cross-encoders of one score in this process, on CPU, MPS or GPU. Found by `backends`.

Rows of like length are read together, padded, within a budget of tokens. The logit is the log-odds that the passage is
relevant. The head is computed in float32 whatever the weights are: in bfloat16 a logit of 4 is a multiple of 0.03.
"""

from __future__ import annotations

from typing import Any

from distill.errors import InputError
from distill.rerank.backends.base import Backend, EngineSettings, Result, Task
from distill.rerank.backends.loading import device_of, dtype_of
from distill.rerank.encoder_format import EncoderFormat, encoder_format
from distill.rerank.modes import softplus
from distill.rerank.student_format import WRITES_NOTHING
from distill.weights import load_encoder

# Tokens that are read together at most, padding included: on a CPU what a layer makes of more leaves its caches.
TOGETHER = {"cpu": 2_048, "cuda": 131_072, "mps": 16_384}
AHEAD = 1024  # rows that are held, so that those read together are of like length


class EncoderBackend(Backend):
    """An encoder's weights in this process. `batch` bounds the rows that are read together."""

    name = "encoder"
    form: EncoderFormat

    @classmethod
    def start(cls, model: str, settings: EngineSettings) -> EncoderBackend:
        """The encoder in this process, on `device`. Raises InputError where it does not load."""
        return cls(model, settings.batch, settings.device, settings.dtype)

    def __init__(
        self, model: str, batch: int | None = None, device: str | None = None, dtype: str | None = None
    ) -> None:
        super().__init__(encoder_format(model))
        self.device = device_of(device)
        loaded: Any = load_encoder(model, dtype=dtype_of(model, self.device.type, dtype))
        self._model = loaded.to(self.device).eval()
        for name, module in self._model.named_children():
            if name != self._model.base_model_prefix:
                module.float().register_forward_pre_hook(_as_float)
        self._batch = batch or AHEAD
        self._together = TOGETHER.get(self.device.type, 16_384)
        self._waiting: list[Task] = []

    @property
    def free(self) -> int:
        """So many rows more are looked through for those of like length."""
        return AHEAD - len(self._waiting)

    def add(self, task: Task) -> None:
        """Take a task in. Raises InputError for one that is to write."""
        if task.max_new:
            raise InputError(WRITES_NOTHING)
        self._waiting.append(task)

    def drop(self, task: Task) -> None:
        """Forget a task."""
        if task in self._waiting:
            self._waiting.remove(task)

    def step(self) -> list[tuple[Task, Result]]:
        """Read the task that has waited longest, with those of like length."""
        if not self._waiting:
            return []
        tasks = self._taken()
        logits = self._read(tasks)
        return [(task, Result([], "read", _log_probs(logit))) for task, logit in zip(tasks, logits, strict=True)]

    def close(self) -> None:
        """Forget the weights."""
        self._waiting, self._model = [], None

    def _taken(self) -> list[Task]:
        """The task that has waited longest and the longest of those that are no longer than it, so that little is
        padded; longer ones wait for their turn."""
        longest = len(self._waiting[0].ids)
        count = max(1, min(self._batch, self._together // longest))
        others = sorted(self._waiting[1:], key=lambda task: -len(task.ids))
        start = next((at for at, task in enumerate(others) if len(task.ids) <= longest), len(others))
        tasks = [self._waiting[0], *others[start : start + count - 1]]
        taken = set(map(id, tasks))
        self._waiting = [task for task in self._waiting if id(task) not in taken]
        return tasks

    def _read(self, tasks: list[Task]) -> list[float]:
        """The logit of each task's row."""
        import torch

        longest, pad = max(len(task.ids) for task in tasks), self.form.tokenizer.pad_token_id

        def padded(rows: list[list[int]], fill: int) -> torch.Tensor:
            return torch.tensor([row + [fill] * (longest - len(row)) for row in rows], device=self.device)

        inputs = {
            "input_ids": padded([task.ids for task in tasks], pad),
            "attention_mask": padded([[1] * len(task.ids) for task in tasks], 0),
        }
        if self.form.typed:
            inputs["token_type_ids"] = padded([self.form.kinds(task.ids) for task in tasks], 0)
        with torch.inference_mode():
            logits: list[float] = self._model(**inputs).logits[:, 0].float().tolist()
        return logits


def _as_float(module: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(each.float() if each is not None and each.is_floating_point() else each for each in inputs)


def _log_probs(logit: float) -> list[float]:
    """The logarithms of the probabilities of relevant and not relevant, whose difference is the logit."""
    return [-softplus(-logit), -softplus(logit)]
