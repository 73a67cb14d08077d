"""A student's folder as others load it: weights, tokenizer, generation settings, and a card of where it came from."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml

from distill import __version__, store
from distill.errors import InputError
from distill.prompts import PROMPT_NAME, student_prompt
from distill.publish.card import LICENCES, words

# What belongs to a model; the training's job, log and checkpoints stay behind.
FILES: tuple[str, ...] = (
    "*.safetensors",
    "*.safetensors.index.json",
    "*.txt",
    "*.jinja",
    "*.model",
    "tokenizer*.json",
    "vocab.json",
)
FILES += ("config.json", "generation_config.json", "special_tokens_map.json", "added_tokens.json", "distill.json")
FILES += ("calibration.json", "chat_template.json")
NOT_THE_MODELS = {"stderr.txt"}


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
    config = _config(run)
    sft, dataset = config.get("sft") or {}, config.get("dataset") or {}
    made = (store.read_manifest(run / "students" / student) or {}).get("result") or {}
    note = store.read_json(run / "students" / student / "distill.json") or {}
    target, prompt = str(made.get("target", student)), str(note.get("prompt", PROMPT_NAME))
    base = str(sft.get("base", "unknown"))
    name = f"{config.get('name', run.name)}-{student}"
    parts = [
        f"---\n{yaml.safe_dump(_header(base, dataset), sort_keys=False, allow_unicode=True)}---\n",
        f"# {words(name)}\n",
        "A pointwise reranker that says of a passage whether it is relevant to a query, in the format of "
        "[Rank1](https://arxiv.org/abs/2502.18418): the score is P(true) / (P(true) + P(false)) after `</think>`. "
        f"{_mode(target)}\n",
        f"## How it is asked\n\nNo chat template. Prompt (`{prompt}`):\n\n```\n"
        f"{student_prompt('{query} {instruction}', '{passage}', None, prompt)}\n```\n",
        "```bash\ndistill rerank --model THIS_FOLDER --queries queries.jsonl --corpus corpus.jsonl --run first.trec "
        "--out reranked.trec\n```\n",
        f"## Where it comes from\n\n{_table(_origin(config, run, base, target, made))}",
        f"## Results\n\n{_results(run, student)}",
        f"## Licence\n\n{_licence(dataset)}",
        f"Made with rerank-distill {__version__}.",
    ]
    return "\n".join(parts) + "\n"


def _config(run: Path) -> dict[str, Any]:
    try:
        value = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        value = None
    if not isinstance(value, dict):
        raise InputError(f"{run}: no run folder (its config.yaml is missing or broken)")
    return value


def _header(base: str, dataset: dict[str, Any]) -> dict[str, Any]:
    head: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-ranking"}
    if base != "scratch" and not Path(base).exists():
        head |= {"base_model": base}
    licence = str(dataset.get("licence") or "").strip().lower()
    if licence:
        head |= {"license": licence} if licence in LICENCES else {"license": "other", "license_name": "see-card"}
    tags = ["reranker", "reasoning", "distillation", "rank1", *(dataset.get("tags") or [])]
    return {**head, "tags": list(dict.fromkeys(tags))}


def _mode(target: str) -> str:
    said = {
        "think": "It reasons first.",
        "direct": "It answers at once: put `\\n</think>` after the prompt, and read the next token.",
        "verdict_first": "It answers at once (put `\\n</think>` after the prompt) and can give its reasons afterwards.",
        "mixed": "It can reason first, or answer at once when `\\n</think>` is put after the prompt.",
    }
    return said.get(target, "")


def _origin(config: dict[str, Any], run: Path, base: str, target: str, made: dict[str, Any]) -> dict[str, Any]:
    stages = (store.read_json(run / "metrics.json") or {}).get("stages") or {}
    sft, teacher = config.get("sft") or {}, config.get("teacher") or {}
    endpoints = teacher.get("endpoints") or [{}]
    lora = sft.get("lora")
    training = {key: value for key, value in (sft.get("training") or {}).items() if not isinstance(value, dict)}
    kept, pairs = (stages.get("filter") or {}).get("kept"), (stages.get("pairs") or {}).get("pairs")
    return {
        "base": "made from nothing" if base == "scratch" else f"{base} {sft.get('revision') or ''}".strip(),
        "pairs": f"{pairs:,}" if isinstance(pairs, int) else "unknown",
        "data": (config.get("pairs") or {}).get("path") or (config.get("pairs") or {}).get("source"),
        "teacher": teacher.get("name") or endpoints[0].get("model") or teacher.get("source"),
        "traces kept": f"{kept:,}" if isinstance(kept, int) else "unknown",
        "target": target,
        "examples": f"{made['examples']:,}" if "examples" in made else "unknown",
        "method": _method(lora),
        "steps": f"{made.get('steps', 'unknown')}, {made.get('epochs', '?')} epochs",
        "parameters": f"{made['parameters']:,}" if "parameters" in made else "unknown",
        "settings": ", ".join(f"{key} {value}" for key, value in training.items()) or "defaults",
        "seed": sft.get("seed") if sft.get("seed") is not None else config.get("seed"),
    }


def _method(lora: dict[str, Any] | None) -> str:
    if not lora:
        return "every weight"
    if not lora.get("bits"):
        return f"LoRA r {lora['r']}, alpha {lora['alpha']}, merged"
    # The adapter was trained on the rounded base; what is published is the base as it was, so scores differ a little.
    return f"QLoRA r {lora['r']}, alpha {lora['alpha']}, on a base in 4 bits, merged into the base before its rounding"


def _table(values: dict[str, Any]) -> str:
    rows = [f"| {key} | {words(str(value))} |" for key, value in values.items()]
    return "\n".join(["| what | value |", "|---|---|", *rows]) + "\n"


def _results(run: Path, student: str) -> str:
    found = (store.read_json(run / "metrics.json") or {}).get("evaluation") or {}
    names = ["nDCG@10", "RR@10", "verdict_accuracy", "ECE", "tokens_per_pair"]
    rows = []
    for each, measured in found.items():
        for system, values in measured.items():
            if system not in ("first_stage", "untrained") and system.split(".")[0] != student:
                continue
            shown = [f"{values[n]:.3f}" if isinstance(values.get(n), int | float) else "" for n in names]
            rows.append(f"| {words(each)} | {words(system)} | " + " | ".join(shown) + " |")
    if not rows:
        return "Not evaluated.\n"
    head = f"| set | system | {' | '.join(names)} |\n|{'---|' * (len(names) + 2)}"
    return "\n".join([head, *rows]) + "\n"


def _licence(dataset: dict[str, Any]) -> str:
    said = [f"- {words(str(what))}: {words(str(terms))}" for what, terms in (dataset.get("licences") or {}).items()]
    whole = dataset.get("licence")
    lines = [f"{words(str(whole))}." if whole else "None was named: ask whoever made it, and mind the base's own."]
    return "\n".join([*lines, *(["", "Of what went in:", "", *said] if said else [])]) + "\n"
