"""TRL's trainers for what comes after SFT, each with three things of this project. Used by `sft.after.train`.

Prompts become token ids as they do at work (`distill.prompts.prompt_ids`) and are never cut; every answer is seen by an
`Observer` with P(true) at its verdict by the model itself; and the privileged context of `self_distil` comes before the
prompt, encoded apart from it, so that what is trained on is what the SFT rows had.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from trl import DistillationTrainer, GRPOTrainer
from trl.experimental.sdft import SDFTTrainer
from trl.experimental.sdft.sdft_trainer import DemonstrationTeacherContextBuilder

from distill.prompts import END_THINK, prompt_ids, verdict_ids
from distill.records import Rollout
from distill.rewards import verdict_of
from sft.validation import expected_grades

Row = dict[str, Any]  # of the data set, as TRL hands it on
Kept = Callable[[list[Rollout]], None]


class Observer:
    """Reads a step's answers and gives them to `keep`; `batch` rows go through the model together."""

    def __init__(self, tokenizer: Any, prompt: str, batch: int, keep: Kept) -> None:
        self.tokenizer, self.keep, self.batch = tokenizer, keep, batch
        self.verdicts = verdict_ids(tokenizer, prompt)
        end = tokenizer.encode(END_THINK, add_special_tokens=False)
        self.end = end[0] if len(end) == 1 else None

    def p_true(self, model: Any, prompts: Sequence[list[int]], answers: Sequence[list[int]]) -> list[float | None]:
        """The expected grade (0 to 1) by the model's probabilities right after `</think>`; None without one."""
        found: list[float | None] = [None] * len(answers)
        rows = {n: [*prompts[n], *head] for n, ids in enumerate(answers) if (head := self._to_end(ids))}
        order = sorted(rows, key=lambda n: len(rows[n]))
        was_training = model.training
        model.eval()
        try:
            with torch.inference_mode():
                for start in range(0, len(order), self.batch):
                    chosen = order[start : start + self.batch]
                    grades = expected_grades(
                        model, [rows[n] for n in chosen], self.verdicts, self.tokenizer.pad_token_id
                    )
                    for n, grade in zip(chosen, grades, strict=True):
                        found[n] = grade
        finally:
            model.train(was_training)
        return found

    def _to_end(self, ids: list[int]) -> list[int]:
        """An answer up to its first `</think>`, [] where it has none."""
        if self.end is not None:
            return ids[: ids.index(self.end) + 1] if self.end in ids else []
        for count in range(1, len(ids) + 1):
            if self.tokenizer.decode(ids[max(0, count - 8) : count]).endswith(END_THINK):
                return ids[:count]
        return []

    def see(
        self,
        step: int,
        rows: Sequence[Row],
        answers: Sequence[list[int]],
        p_true: Sequence[float | None],
        rewards: Sequence[str],
    ) -> None:
        """Keep the answers of one step."""
        texts = self.tokenizer.batch_decode(answers, skip_special_tokens=True)
        self.keep(
            [
                Rollout(
                    step, row["pair_id"], row["query_id"], row["prompt"], text, row["grade"],
                    verdict_of(text, row["words"]), p, len(ids), reward,
                )
                for row, text, ids, p, reward in zip(rows, texts, answers, p_true, rewards, strict=True)
            ]
        )  # fmt: skip


class GrpoStudentTrainer(GRPOTrainer):  # type: ignore[misc, unused-ignore]
    """`GRPOTrainer` whose rewards get P(true) as one more column, `p_true`."""

    observer: Observer
    encode_rewards: Callable[[Sequence[Sequence[float]]], list[str]]

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return prompt_ids(self._tokenizer, prompts), None, {}

    def _calculate_rewards(
        self, inputs: list[Row], prompts: list[str], completions: list[str], completion_ids_list: list[list[int]]
    ) -> torch.Tensor:
        model = self.accelerator.unwrap_model(self.model)
        p_true = self.observer.p_true(model, prompt_ids(self._tokenizer, prompts), completion_ids_list)
        rows = [{**row, "p_true": p} for row, p in zip(inputs, p_true, strict=True)]
        rewards: torch.Tensor = super()._calculate_rewards(rows, prompts, completions, completion_ids_list)
        by_answer = self.encode_rewards(rewards.tolist())
        self.observer.see(self.state.global_step + 1, inputs, completion_ids_list, p_true, by_answer)
        return rewards


class SelfDistilTrainer(SDFTTrainer):  # type: ignore[misc, unused-ignore]
    """`SDFTTrainer` whose teaching side reads the privileged context first, and the student's prompt after it."""

    observer: Observer

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.teacher_context_builder: Any = _ContextFirst(self)  # type: ignore[no-untyped-call]

    def _tokenize_prompts(self, prompts: list[Any]) -> list[list[int]]:
        """Of a text: the student's own prompt. Of (context, text): the teaching side's."""
        texts = [prompt if isinstance(prompt, str) else prompt[1] for prompt in prompts]
        own = prompt_ids(self._tokenizer, texts)
        contexts = [prompt[0] for prompt in prompts if not isinstance(prompt, str)]
        if not contexts:
            return own
        return [context + ids for context, ids in zip(prompt_ids(self._tokenizer, contexts), own, strict=True)]

    def sample_rollouts(self, inputs: list[Row]) -> dict[str, Any]:
        """TRL's, and the answers are kept."""
        batch: dict[str, Any] = super().sample_rollouts(inputs)
        answers = self._get_completion_ids_list(batch)
        prompts = self._tokenize_prompts([row["prompt"] for row in inputs])
        p_true = self.observer.p_true(self.accelerator.unwrap_model(self.model), prompts, answers)
        self.observer.see(self.state.global_step + 1, inputs, answers, p_true, ["{}"] * len(inputs))
        return batch


class _ContextFirst(DemonstrationTeacherContextBuilder):  # type: ignore[misc, unused-ignore]
    """The teaching side's prompt as (privileged context, the student's prompt)."""

    def _compose_teacher_prompt(self, prompt: str, privileged_context: str) -> tuple[str, str]:
        return privileged_context, prompt


class OnPolicyTrainer(DistillationTrainer):  # type: ignore[misc, unused-ignore]
    """`DistillationTrainer` whose answers are kept."""

    observer: Observer

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return prompt_ids(self._tokenizer, prompts), None, {}

    def _generate_and_score_completions(self, inputs: list[Row]) -> dict[str, Any]:
        batch: dict[str, Any] = super()._generate_and_score_completions(inputs)
        masks = batch["completion_mask"].bool()
        answers = [ids[mask].tolist() for ids, mask in zip(batch["completion_ids"], masks, strict=True)]
        prompts = self._tokenize_prompts([row["prompt"] for row in inputs])[0]
        p_true = self.observer.p_true(self.accelerator.unwrap_model(self.model), prompts, answers)
        self.observer.see(self.state.global_step + 1, inputs, answers, p_true, ["{}"] * len(inputs))
        return batch
