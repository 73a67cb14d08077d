"""A student's folder as others load it: weights, tokenizer, generation settings, and a card of where it came from."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill import __version__, store
from distill.config import resolved
from distill.errors import InputError
from distill.prompts import PROMPT_NAME, student_prompt
from distill.publish.card import licence_of, words
from distill.results import BASELINES, RunMetrics, read_as
from distill.tables import markdown

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

# What belongs to a model; the training's job, log and checkpoints stay behind.
FILES = (
    "*.safetensors", "*.safetensors.index.json", "*.txt", "*.jinja", "*.model", "tokenizer*.json", "vocab.json",
    "config.json", "generation_config.json", "special_tokens_map.json", "added_tokens.json", "distill.json",
    "calibration.json", "chat_template.json",
)  # fmt: skip
NOT_THE_MODELS = {"stderr.txt"}
MEASURES = ("nDCG@10", "RR@10", "verdict_accuracy", "ECE", "tokens_per_pair")
Results = Mapping[tuple[str, str], Mapping[str, float]]
"""{(set, system): {measure: value}}."""


def export_model(run: Path, student: str, out: Path) -> dict[str, Any]:
    """Copy the student (its name; "" where there is only one) of a run to `out`; returns {student, files, bytes}.

    An earlier export there is replaced. Raises InputError where the run has no such finished student, or `out` holds
    something else.
    """
    folder = run / "students" / _chosen(run, student)
    if out.exists() and any(out.iterdir()) and not (out / "config.json").exists():
        raise InputError(f"{out}: holds something else than a model; choose another folder with --out")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    found = sorted({path for pattern in FILES for path in folder.glob(pattern)} - {folder / n for n in NOT_THE_MODELS})
    for path in found:
        shutil.copy2(path, out / path.name)
    if not list(out.glob("*.safetensors")):
        raise InputError(f"{folder}: has no weights; train it again with `distill sft`")
    (out / "README.md").write_text(card(run, folder.name), encoding="utf-8")
    files = sorted(out.iterdir())
    return {"student": folder.name, "files": len(files), "bytes": sum(path.stat().st_size for path in files)}


def _chosen(run: Path, student: str) -> str:
    done = {path.parent.name for path in (run / "students").glob("*/manifest.json")} - {"untrained"}
    if not done:
        raise InputError(f"{run}: has no finished student; `distill sft` trains them")
    if student in done:
        return student
    if not student and len(done) == 1:
        return done.pop()
    names = ", ".join(sorted(done))
    raise InputError(f"--model {student}: name one of this run's students: {names}".replace("--model :", "--model:"))


def card(run: Path, student: str) -> str:
    """The model card: base, data, recipe, results, licence; what is not known is said to be."""
    config = resolved(run)
    if config is None:
        raise InputError(f"{run}: no run folder (its config.yaml is missing or broken)")
    sft, dataset = config.get("sft") or {}, config.get("dataset") or {}
    made = (store.read_manifest(run / "students" / student) or {}).get("result") or {}
    note = store.read_json(run / "students" / student / "distill.json") or {}
    target, prompt = str(made.get("target", student)), str(note.get("prompt", PROMPT_NAME))
    base = str(sft.get("base", "unknown"))
    name = f"{config.get('name', run.name)}-{student}"
    results = _results(run, student)
    origin = markdown(
        ("what", "value"), [(key, words(value)) for key, value in _origin(config, run, base, target, made).items()]
    )
    parts = [
        f"---\n{_header(base, dataset, name, results).to_yaml()}\n---\n",
        f"# {words(name)}\n",
        "A pointwise reranker that says of a passage whether it is relevant to a query, in the format of "
        "[Rank1](https://arxiv.org/abs/2502.18418): the score is P(true) / (P(true) + P(false)) after `</think>`. "
        f"{_mode(target)}\n",
        f"## How it is asked\n\nNo chat template. Prompt (`{prompt}`):\n\n```\n"
        f"{student_prompt('{query} {instruction}', '{passage}', None, prompt)}\n```\n",
        "```bash\ndistill rerank --model THIS_FOLDER --queries queries.jsonl --corpus corpus.jsonl --run first.trec "
        "--out reranked.trec\n```\n",
        f"## Where it comes from\n\n{origin}\n",
        f"## Results\n\n{_results_table(results)}",
        f"## Licence\n\n{_licence(dataset)}",
        f"Made with rerank-distill {__version__}.",
    ]
    return "\n".join(parts) + "\n"


def _header(base: str, dataset: dict[str, Any], name: str, results: Results) -> ModelCardData:
    """The card's metadata, by the hub's names, with the student's measures as its model index."""
    from huggingface_hub import EvalResult, ModelCardData

    measured = [
        EvalResult(
            task_type="text-ranking",
            dataset_type=set_name,
            dataset_name=set_name,
            dataset_args={"system": system},
            metric_type=measure,
            metric_value=round(value, 4),
        )
        for (set_name, system), values in results.items()
        if system not in BASELINES
        for measure, value in values.items()
    ]
    licence, licence_name = licence_of(dataset.get("licence"))
    return ModelCardData(
        library_name="transformers",
        pipeline_tag="text-ranking",
        base_model=base if base != "scratch" and not Path(base).exists() else None,
        license=licence,
        license_name=licence_name,
        tags=list(dict.fromkeys(["reranker", "reasoning", "distillation", "rank1", *(dataset.get("tags") or [])])),
        model_name=name,
        eval_results=measured or None,
    )


def _mode(target: str) -> str:
    said = {
        "think": "It reasons first.",
        "direct": "It answers without reasoning: put `\\n</think>` after the prompt, and read the next token.",
        "verdict_first": "It answers without reasoning (put `\\n</think>` after the prompt) and can give reasons then.",
        "mixed": "It can reason first, or answer without reasoning when `\\n</think>` is put after the prompt.",
    }
    return said.get(target, "")


def _origin(config: dict[str, Any], run: Path, base: str, target: str, made: dict[str, Any]) -> dict[str, Any]:
    metrics = read_as(RunMetrics, store.read_json(run / "metrics.json"))
    kept, pairs = metrics.counts("filter").kept, metrics.counts("pairs").pairs
    sft, teacher = config.get("sft") or {}, config.get("teacher") or {}
    endpoints = teacher.get("endpoints") or [{}]
    lora = sft.get("lora")
    training = {key: value for key, value in (sft.get("training") or {}).items() if not isinstance(value, dict)}
    return {
        "base": "made from scratch" if base == "scratch" else f"{base} {sft.get('revision') or ''}".strip(),
        "pairs": _number(pairs),
        "data": (config.get("pairs") or {}).get("path") or (config.get("pairs") or {}).get("source"),
        "teacher": teacher.get("name") or endpoints[0].get("model") or teacher.get("source"),
        "traces kept": _number(kept),
        "target": target,
        "examples": _number(made.get("examples")),
        "method": _method(lora),
        "steps": f"{made.get('steps', 'unknown')}, {made.get('epochs', '?')} epochs",
        "parameters": _number(made.get("parameters")),
        "settings": ", ".join(f"{key} {value}" for key, value in training.items()) or "defaults",
        "seed": sft.get("seed") if sft.get("seed") is not None else config.get("seed"),
    }


def _number(count: int | None) -> str:
    return "unknown" if count is None else f"{count:,}"


def _method(lora: dict[str, Any] | None) -> str:
    if not lora:
        return "every weight"
    if not lora.get("bits"):
        return f"LoRA r {lora['r']}, alpha {lora['alpha']}, merged"
    # The adapter was trained on the rounded base; what is published is the base as it was, so scores differ a little.
    return f"QLoRA r {lora['r']}, alpha {lora['alpha']}, on a base in 4 bits, merged into the base before its rounding"


def _results(run: Path, student: str) -> Results:
    """The measures of the student's systems and of what they are compared with."""
    metrics = read_as(RunMetrics, store.read_json(run / "metrics.json"))
    return {
        (set_name, system): {name: values[name] for name in MEASURES if name in values}
        for set_name, measured in metrics.evaluation.items()
        for system, values in measured.items()
        if system in BASELINES or system.split(".")[0] == student
    }


def _results_table(results: Results) -> str:
    rows = [
        [words(set_name), words(system), *(f"{values[name]:.3f}" if name in values else "" for name in MEASURES)]
        for (set_name, system), values in results.items()
    ]
    return markdown(["set", "system", *MEASURES], rows) + "\n" if rows else "Not evaluated.\n"


def _licence(dataset: dict[str, Any]) -> str:
    said = [f"- {words(str(what))}: {words(str(terms))}" for what, terms in (dataset.get("licences") or {}).items()]
    whole = dataset.get("licence")
    lines = [f"{words(str(whole))}." if whole else "None was named: ask whoever made it, and mind the base's own."]
    return "\n".join([*lines, *(["", "Of what went in:", "", *said] if said else [])]) + "\n"
