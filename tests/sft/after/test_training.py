"""A training on the student's own answers, on a tiny model: what each side reads, what is kept, a kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from distill import store
from distill.errors import ConfigError
from distill.prompts import prompt_ids
from distill.records import Rollout
from sft.after.check import check_teachers
from sft.after.progress import WellFormed
from sft.after.rollouts import Rollouts, StepMeans
from sft.after.settings import ThenSettings
from sft.after.tasks import Task, tasks
from sft.after.train import same_vocabulary, train_after
from sft.settings import SftSettings
from sft.student import load_base, load_tokenizer
from sft.together import COMPLETE
from tests.sft.kept import rows_of
from tests.sft.tiny import base_folder, weights, world

STEPS = 4
THEN: dict[str, dict[str, Any]] = {
    "self_distil": {"prompts": 4},
    "grpo": {"prompts": 4, "generations": 2},
    "on_policy": {"prompts": 4},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student with the tags, of random weights: it writes noise, which is enough to be trained on."""
    folder = tmp_path_factory.mktemp("after")
    plain = base_folder(folder / "plain", vocab_size=420)
    model, tokenizer = load_base(str(plain), SftSettings(base=str(plain)))
    model.save_pretrained(folder / "student")
    tokenizer.save_pretrained(folder / "student")
    other, _ = load_base(str(base_folder(folder / "other", vocab_size=420, seed=1)), SftSettings(base=str(plain)))
    other.save_pretrained(folder / "teacher")
    tokenizer.save_pretrained(folder / "teacher")
    return folder / "student"


def job_of(folder: Path, base: Path, method: str, **more: Any) -> dict[str, Any]:
    pairs, traces = world(40)
    store.write_rows(folder / "tasks", tasks(rows_of(pairs, traces)()), Task, presorted=True)
    out = folder / f"think_{method}"
    out.mkdir(exist_ok=True)
    own: dict[str, Any] = {}
    if method == "on_policy":
        own = {"teacher": str(base.parent / "teacher")}
    if method == "grpo":
        (base.parent / "own.py").write_text(
            "def letters(completions, **columns):\n    return [float(len(set(text))) for text in completions]\n"
        )
        own = {"reward": {f"{base.parent / 'own.py'}:letters": 1.0, "brier": 1.0, "form": 1.0}}
    then = {"method": method, "steps": STEPS, "max_new_tokens": 8, "learning_rate": 1e-3, **THEN[method], **own}
    return {
        "name": out.name, "target": "think", "base": str(base), "examples": str(folder / "tasks"), "dev": "",
        "out": str(out), "seed": 0, "threads": 1, "settings": SftSettings(base=str(base)).model_dump(mode="json"),
        "then": {**then, **more}, "events": str(folder / "events.jsonl"),
    }  # fmt: skip


def rollouts(out: str) -> list[Rollout]:
    return list(Rollouts(Path(out)).rows())


@pytest.mark.parametrize(
    "method",
    ["self_distil", pytest.param("grpo", marks=pytest.mark.slow), pytest.param("on_policy", marks=pytest.mark.slow)],
)
def test_a_killed_training_goes_on_to_the_same_student(
    tmp_path: Path, base: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole, killed = job_of(tmp_path / "whole", base, method), job_of(tmp_path / "killed", base, method)
    counts = train_after(whole)  # type: ignore[arg-type]
    from sft.after.progress import AfterProgress

    with monkeypatch.context() as patch:
        given = AfterProgress.answers

        def killing(self: AfterProgress, rows: list[Rollout]) -> None:
            if rows[0].step == 3:
                raise KeyboardInterrupt
            given(self, rows)

        patch.setattr(AfterProgress, "answers", killing)
        with pytest.raises(KeyboardInterrupt):
            train_after(killed)  # type: ignore[arg-type]
    again = train_after(killed)  # type: ignore[arg-type]
    assert (counts["resumed"], again["resumed"], again["steps"]) == (False, True, STEPS)
    one, other = weights(Path(whole["out"])), weights(Path(killed["out"]))
    assert all(bool((one[name] == other[name]).all()) for name in one)
    start = weights(base)
    assert any(bool((one[name] != start[name]).any()) for name in one)
    assert rollouts(whole["out"]) == rollouts(killed["out"])
    assert len(rollouts(whole["out"])) == STEPS * ThenSettings.model_validate(whole["then"]).answers
    assert counts["generated_tokens"] == sum(row.tokens for row in rollouts(whole["out"])) > 0
    summary = [json.loads((Path(job["out"]) / "after.json").read_text()) for job in (whole, killed)]
    assert summary[0] == summary[1] and len(summary[0]["curve"]) == STEPS


@pytest.mark.slow
@pytest.mark.parametrize("method", list(THEN))
def test_a_training_that_is_killed_by_the_system_goes_on_to_the_same_student(
    tmp_path: Path, base: Path, method: str
) -> None:
    steps = 60
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole = job_of(tmp_path / "whole", base, method, steps=steps)
    killed = job_of(tmp_path / "killed", base, method, steps=steps)
    train_after(whole)  # type: ignore[arg-type]
    store.write_json(tmp_path / "job.json", killed)
    checkpoints = Path(killed["out"]) / "checkpoints"
    first = training_process(tmp_path / "job.json")
    until = time.monotonic() + 120
    while not list(checkpoints.glob(f"checkpoint-{steps // 5}/{COMPLETE}")) and time.monotonic() < until:
        assert first.poll() is None, "ended before it could be killed"
        time.sleep(0.002)
    first.send_signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    second = training_process(tmp_path / "job.json")
    assert second.wait(120) == 0
    result = json.loads((Path(killed["out"]) / "result.json").read_text())
    assert (result["resumed"], result["steps"]) == (True, steps)
    one, other = weights(Path(whole["out"])), weights(Path(killed["out"]))
    assert all(bool((one[name] == other[name]).all()) for name in one)
    assert rollouts(whole["out"]) == rollouts(killed["out"])


def training_process(job: Path) -> subprocess.Popen[str]:
    """The process that a run starts for a training, its job named to it."""
    command = [sys.executable, "-m", "sft.training_process", str(os.getpid())]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stdin is not None
    process.stdin.write(f"{job}\n")
    process.stdin.close()
    return process


def test_the_student_reads_its_own_prompt_and_the_teaching_side_all_of_its_own(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sft.after.trainers import SelfDistilTrainer

    seen: list[dict[str, Any]] = []
    given = SelfDistilTrainer._prepare_training_batch

    def spy(self: Any, inputs: Any) -> Any:
        batch = given(self, inputs)
        seen.append({"inputs": inputs, **batch})
        return batch

    monkeypatch.setattr(SelfDistilTrainer, "_prepare_training_batch", spy)
    pairs, traces = world(40)
    long = [(pairs[t.pair_id], t) for t in traces]
    job = job_of(tmp_path, base, "self_distil", steps=1)
    rows = [
        Task(
            **{**{name: getattr(task, name) for name in Task.__slots__}, "reasoning": f"SECRET {task.reasoning} " * 30}
        )
        for task in tasks(long)
    ]
    store.write_rows(tmp_path / "tasks", rows, Task, presorted=True)
    train_after(job)  # type: ignore[arg-type]
    tokenizer = load_tokenizer(str(base), SftSettings(base=str(base)))
    (batch,) = seen
    for number, row in enumerate(batch["inputs"]):
        own = batch["prompt_ids"][number][batch["prompt_mask"][number].bool()].tolist()
        assert own == prompt_ids(tokenizer, [row["prompt"]])[0]
        assert "SECRET" not in tokenizer.decode(own)
        mask = batch["teacher_attention_mask"][number].bool()
        answer = batch["completion_ids"][number][batch["completion_mask"][number].bool()].tolist()
        teaching = batch["teacher_input_ids"][number][mask].tolist()
        context = prompt_ids(tokenizer, [row["privileged_context"]])[0]
        assert len(context) > 512  # TRL would cut it from the left
        assert teaching == context + own + answer
    assert all("SECRET" not in row.prompt for row in rollouts(job["out"]))


@pytest.mark.parametrize("lora", [None, {"r": 8, "alpha": 16}])
def test_beta_measures_the_divergence_from_the_sft_student_also_over_a_kill(
    tmp_path: Path, base: Path, lora: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sft.after.progress import AfterProgress

    jobs = [job_of(tmp_path / name, base, "grpo", beta=0.5, learning_rate=1e-2) for name in ("whole", "killed")]
    for job in jobs:
        job["settings"] = SftSettings(base=str(base), lora=lora).model_dump(mode="json")  # type: ignore[arg-type]
    train_after(jobs[0])  # type: ignore[arg-type]
    given = AfterProgress.answers

    def killing(self: AfterProgress, rows: list[Rollout]) -> None:
        if rows[0].step == 3:
            raise KeyboardInterrupt
        given(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(AfterProgress, "answers", killing)
        with pytest.raises(KeyboardInterrupt):
            train_after(jobs[1])  # type: ignore[arg-type]
    assert train_after(jobs[1])["resumed"]  # type: ignore[arg-type]
    one, other = (weights(Path(job["out"])) for job in jobs)
    assert all(bool((one[name] == other[name]).all()) for name in one)
    whole, killed = (json.loads((Path(job["out"]) / "after.json").read_text())["kl"] for job in jobs)
    assert whole == killed and [step for step, _ in whole] == [1, 2, 3, 4]
    assert whole[0][1] == pytest.approx(0, abs=1e-6) and whole[-1][1] > 1e-4
    log = [json.loads(line) for line in (tmp_path / "whole" / "events.jsonl").read_text().splitlines()]
    assert [line["kl"] for line in log] == [kl for _, kl in whole]


def test_a_reward_that_tells_no_answers_apart_is_said_and_none_counts_for_nothing(tmp_path: Path, base: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text("def first(completions, **c):\n    return [1.0, *[None] * (len(completions) - 1)]\n")
    counts = train_after(job_of(tmp_path, base, "grpo", reward={"verdict": 1.0, "form": 0.1}))  # type: ignore[arg-type]
    said = "in 4 of 4 steps all answers to a prompt had the same reward, and taught nothing; no answer is well-formed"
    assert [text.partition(":")[0] for text in counts["warnings"]] == [said]
    told = job_of(tmp_path / "some", base, "grpo", reward={f"{own}:first": 1.0, "form": 0.1}, steps=1)
    assert train_after(told)["warnings"] == []  # type: ignore[arg-type]
    made = json.loads((Path(told["out"]) / "after.json").read_text())
    assert made["curve"][0]["rewards"] == {"first": 1.0, "form": 0.0}


def test_pairs_that_do_not_fit_the_context_are_left_out_and_never_cut(tmp_path: Path, base: Path) -> None:
    job = job_of(tmp_path, base, "self_distil", steps=1)
    rows = list(store.read_rows(tmp_path / "tasks", Task))
    rows[0] = Task(**{**{n: getattr(rows[0], n) for n in Task.__slots__}, "reasoning": "long " * 2000})
    store.write_rows(tmp_path / "tasks", rows, Task, presorted=True)
    counts = train_after(job)  # type: ignore[arg-type]
    assert (counts["rejected"], counts["examples"]) == (1, 39)
    assert "do not fit a context of 1024" in (tmp_path / "events.jsonl").read_text()


def test_a_training_that_loses_its_form_ends_and_says_so() -> None:
    watch = WellFormed()
    shares = [1.0] * 8 + [0.5] * 4
    ends = [watch.see(StepMeans(step, share, 0.0, 1.0, {})) for step, share in enumerate(shares, 1)]
    assert ends[:9] == [None] * 9
    assert ends[9] is not None and "80% of the answers" in ends[9] and watch.healthy == 8
    small = WellFormed()  # samples of a small student are often not well-formed, from the start
    assert all(small.see(StepMeans(step, 0.85, 0.0, 1.0, {})) is None for step in range(1, 40))


def test_a_teacher_of_another_vocabulary_is_refused_and_one_with_padding_is_fitted(tmp_path: Path, base: Path) -> None:
    settings = SftSettings(base=str(base))
    model, tokenizer = load_base(str(base), settings)
    other = base_folder(tmp_path / "other", vocab_size=420)
    with pytest.raises(ConfigError, match=r"another vocabulary.*self_distil"):
        same_vocabulary(str(other), model, tokenizer, settings.model_copy(update={"think_tokens": "text"}))
    model.resize_token_embeddings(len(tokenizer) + 30)
    model.save_pretrained(tmp_path / "padded")
    shutil.copytree(base, tmp_path / "teacher")
    shutil.copytree(tmp_path / "padded", tmp_path / "teacher", dirs_exist_ok=True)
    student, _ = load_base(str(base), settings)
    teacher = same_vocabulary(str(tmp_path / "teacher"), student, tokenizer, settings)
    assert teacher.config.vocab_size == student.config.vocab_size


def test_a_teacher_with_as_few_tokens_as_a_small_world_gives_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"vocab_size": 773}')  # scratch.vocab_size 1024 is a bound
    then = {"method": "on_policy", "teacher": str(tmp_path)}
    given = {"targets": [{"target": "think", "then": then}]}
    check_teachers(SftSettings.model_validate({"base": "scratch", **given}))
    (tmp_path / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"no model's folder"):
        check_teachers(SftSettings.model_validate({"base": "scratch", **given}))
