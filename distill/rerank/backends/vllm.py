"""The vLLM backend: its engine in this process, fed row by row, so that rows join and leave while others run.

Reasoning is written without log-probabilities (they cost 2.6 times the tokens) and without turning tokens into text;
the verdicts are then read by one more token, whose log-probabilities are asked for by id: exact, where a top-20 list
may miss one. The prefix cache has the reasoning already, and what the passages of a query share.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

from distill.errors import InputError, first_line
from distill.rerank.backends.base import Backend, EngineSettings, Finish, Result, Task
from distill.rerank.repetition import LONGEST, TIMES
from distill.rerank.student_format import form_of

# On a CPU the engine's own blocks are 128 tokens: shorter prompts would never share a prefix.
CPU_BLOCK = 32
# vLLM's own look at what repeats itself, with the numbers of `distill.rerank.repetition`.
REPETITION = {"max_pattern_size": LONGEST, "min_count": TIMES}


class VllmBackend(Backend):
    """A student's weights in vLLM. `batch` is its max_num_seqs; `engine` are further arguments of `vllm.LLM`."""

    name = "vllm"
    by_query = True

    @classmethod
    def start(cls, model: str, settings: EngineSettings) -> VllmBackend:
        """The student in this process; `engine` are arguments of `vllm.LLM`."""
        if find_spec("vllm") is None:
            raise InputError("backend vllm needs the package vllm, which is not installed; pip install vllm")
        engine = {"dtype": settings.dtype, **settings.engine} if settings.dtype else settings.engine
        return cls(model, settings.batch, settings.prompt, **engine)

    def __init__(self, model: str, batch: int | None = None, prompt: str | None = None, **engine: Any) -> None:
        # In this process: no second one to start (20 s) and to lose, and requests can be given up without waiting.
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        from vllm import LLM

        self.form = form_of(model, engine.get("max_model_len"), prompt)
        settings = {"enable_prefix_caching": True, "max_model_len": self.form.context, **engine}
        if batch:
            settings["max_num_seqs"] = batch
        if _on_cpu():
            settings = {"dtype": "float32", "enforce_eager": True, "block_size": CPU_BLOCK, **settings}
        try:
            self._llm = LLM(model, **settings)
        except (ValueError, TypeError, RuntimeError) as error:
            raise InputError(f"{model}: vllm does not run it ({first_line(error)})") from None
        self._engine = self._llm.llm_engine
        self.batch = int(self._engine.vllm_config.scheduler_config.max_num_seqs)
        self._tasks: dict[str, Task] = {}
        self._count = 0

    @property
    def free(self) -> int:
        """Capacity for twice what runs together, so that the engine never waits for a row."""
        return 2 * self.batch - len(self._tasks)

    def add(self, task: Task) -> None:
        """Take a task in."""
        name = str(self._count)
        self._count += 1
        self._tasks[name] = task
        self._engine.add_request(name, {"prompt_token_ids": task.ids}, self._sampling(task))

    def drop(self, task: Task) -> None:
        """Forget a task."""
        for name in [name for name, each in self._tasks.items() if each is task]:
            self._engine.abort_request([name])
            del self._tasks[name]

    def step(self) -> list[tuple[Task, Result]]:
        """One step of the engine."""
        if not self._tasks:
            return []
        found = []
        for output in self._engine.step():
            task = self._tasks.pop(output.request_id, None) if output.finished else None
            if task is not None:
                found.append((task, self._result(task, output.outputs[0])))
        return found

    def close(self) -> None:
        """Give the engine's memory back."""
        self._tasks.clear()
        self._llm = self._engine = None

    def _sampling(self, task: Task) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RepetitionDetectionParams, RequestOutputKind

        # No output before a row is finished, and no deep copy of what is made for one row alone.
        settings: dict[str, Any] = {"output_kind": RequestOutputKind.FINAL_ONLY, "skip_clone": True}
        if not task.max_new:
            verdicts = list(self.form.verdicts)
            return SamplingParams(temperature=0, max_tokens=1, logprob_token_ids=verdicts, detokenize=False, **settings)
        settings |= {"temperature": task.temperature, "max_tokens": task.max_new}
        if task.min_new:
            settings["min_tokens"] = task.min_new
        if task.temperature:
            settings["seed"] = task.seed
        if task.loops == "stop":
            settings["repetition_detection"] = RepetitionDetectionParams(**REPETITION)
        if task.to_end and self.form.end is not None:
            return SamplingParams(stop_token_ids=[self.form.end], detokenize=False, **settings)
        if task.to_end:  # the tag is several tokens: the text has to be watched
            return SamplingParams(stop=["</think>"], include_stop_str_in_output=True, **settings)
        return SamplingParams(detokenize=False, **settings)

    def _result(self, task: Task, output: Any) -> Result:
        ids = list(output.token_ids)
        if not task.max_new:
            values = output.logprobs[0]
            return Result([], "read", [values[token].logprob for token in self.form.verdicts])
        return written(self.form, task, ids, str(output.finish_reason))


def written(form: Any, task: Task, ids: list[int], reason: str) -> Result:
    """A Result of the ids that vLLM returns, which may end in an end of text; `reason` is its finish_reason."""
    if task.to_end and form.ended(ids):
        return Result(ids, "stop")
    if reason == "repetition":
        return Result(ids, "looped")
    stopped = bool(ids) and ids[-1] in form.stops
    finish: Finish = "length" if reason == "length" else "no_end" if task.to_end else "stop"
    return Result(ids[:-1] if stopped else ids, finish)


def _on_cpu() -> bool:
    from vllm.platforms import current_platform

    return bool(current_platform.is_cpu())
