"""A student's folder as others load it: weights, tokenizer, generation settings, and a card of where it came from."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill import __version__, store
from distill.config import resolved
from distill.errors import InputError
from distill.prompts import PROMPT_NAME, student_prompt
from distill.publish.card import licence_of, words
from distill.results import BASELINES, Intervals, RunMetrics, read_as
from distill.tables import markdown

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

# What belongs to a model; the training's job, log and checkpoints stay behind.
FILES = (
    "*.safetensors", "*.safetensors.index.json", "*.txt", "*.jinja", "*.model", "tokenizer*.json", "vocab.json",
    "config.json", "generation_config.json", "special_tokens_map.json", "added_tokens.json", "distill.json",
    "calibration.json", "chat_template.json", "modules.json", "*sentence_*.json", "*_Pooling/*", "*_Normalize/*",
)  # fmt: skip
NOT_THE_MODELS = {"stderr.txt"}
MEASURES = ("nDCG@10", "RR@10", "verdict_accuracy", "ECE", "tokens_per_pair")
ENCODER = (
    "A cross-encoder that says of a passage whether it is relevant to a query: one logit, the log-odds, learnt from "
    "the verdicts of a reasoning teacher.\n"
)
ENCODER_ASKED = """\
An instruction follows the query after a space.

```python
from sentence_transformers import CrossEncoder

CrossEncoder("THIS_FOLDER").predict([("query instruction", "passage")])  # log-odds
```

```bash
distill rerank --model THIS_FOLDER --queries queries.jsonl --corpus corpus.jsonl --run first.trec --out reranked.trec
```"""
Results = Mapping[tuple[str, str], Mapping[str, float]]
"""{(set, system): {measure: value}}."""


def is_student(folder: Path) -> bool:
    """Whether a folder is a student's own, or any model's, and no run."""
    return (folder / "config.json").is_file() and not (folder / "config.yaml").exists()


def student_folder(run: Path, student: str) -> Path:
    """The folder of a run's finished student ("" where there is only one); `run` itself where it is a student's.

    Raises InputError where the run has no such student.
    """
    return run if is_student(run) else run / "students" / _chosen(run, student)


def export_model(run: Path, student: str, out: Path) -> str:
    """Copy the student (its name; "" where there is only one) of a run, or of its own folder, to `out`; returns its
    name.

    An earlier export there is replaced. Raises InputError where the run has no such finished student, or `out` holds
    something else.
    """
    folder = student_folder(run, student)
    if out.exists() and any(out.iterdir()) and not (out / "config.json").exists():
        raise InputError(f"{out}: holds something else than a model; choose another folder with --out")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for path in {path for pattern in FILES for path in folder.glob(pattern)} - {folder / n for n in NOT_THE_MODELS}:
        copy = out / path.relative_to(folder)
        copy.parent.mkdir(exist_ok=True)
        shutil.copy2(path, copy)
    if not list(out.glob("*.safetensors")):
        raise InputError(f"{folder}: has no weights; train it again with `distill sft`")
    (out / "README.md").write_text(card(folder), encoding="utf-8")
    return folder.resolve().name


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


def card(folder: Path, use: str | None = None, library: str = "transformers") -> str:
    """The card of a student, by its folder: base, data, recipe, results, licence; what is not known is said to be.

    `use` says how to serve it, where it is exported for another tool, and `library` which, by the hub's name. Of a
    folder that is in no run, the card says only what its own files do.
    """
    student, run = folder.resolve().name, folder.resolve().parent.parent
    config = resolved(run) or {}
    sft, dataset = config.get("sft") or {}, config.get("dataset") or {}
    made = (store.read_manifest(folder) or {}).get("result") or {}
    note = store.read_json(folder / "distill.json") or {}
    target, prompt = str(made.get("target") or note.get("target") or student), str(note.get("prompt", PROMPT_NAME))
    kind = note.get("kind")
    if kind is not None and config:
        own: dict[str, Any] = next((each for each in sft.get("targets") or () if each.get("name") == student), {})
        sft = {
            "targets": [own],
            "base": own.get("base") or "scratch",
            "training": own.get("training"),
            "seed": sft.get("seed"),
        }
        config = {**config, "sft": sft}
    base = str(sft.get("base", "unknown"))
    name = f"{config.get('name', run.name)}-{student}" if config else student
    results = _results(run, student, (config.get("evaluation") or {}).get("calibrate_on"))
    origin = markdown(
        ("what", "value"), [(key, words(value)) for key, value in _origin(config, run, base, target, made).items()]
    )
    if kind == "retriever":
        header = _header(base, dataset, name, results, "sentence-transformers", "sentence-similarity").to_yaml()
        return _retrievers_card(header, name, origin, _licence(dataset, _made_from(config, base)))
    asked = ENCODER_ASKED if kind == "encoder" else _prompt_and_command(prompt)
    parts = [
        f"---\n{_header(base, dataset, name, results, library).to_yaml()}\n---\n",
        f"# {words(name)}\n",
        ENCODER
        if kind == "encoder"
        else "A pointwise reranker that says of a passage whether it is relevant to a query, in the "
        "format of [Rank1](https://arxiv.org/abs/2502.18418): the score is P(true) / (P(true) + P(false)) after "
        f"`</think>`. {_mode(target, use is None)}\n",
        f"## How it is served\n\n{use}\n" if use else f"## How it is asked\n\n{asked}\n",
        f"## Where it comes from\n\n{origin}\n",
        f"## Results\n\n{_results_table(results, _intervals(run))}",
        f"## Licence\n\n{_licence(dataset, _made_from(config, base))}",
        f"Made with rerank-distill {__version__}.",
    ]
    return "\n".join(parts) + "\n"


def _prompt_and_command(prompt: str) -> str:
    return (
        f"No chat template. Prompt (`{prompt}`):\n\n```\n"
        f"{student_prompt('{query} {instruction}', '{passage}', None, prompt)}\n```\n\n"
        "```bash\ndistill rerank --model THIS_FOLDER --queries queries.jsonl --corpus corpus.jsonl --run first.trec "
        "--out reranked.trec\n```"
    )


def _retrievers_card(header: str, name: str, origin: str, licence: str) -> str:
    """The card of a bi-encoder."""
    return f"""---
{header}
---

# {words(name)}

A bi-encoder that follows instructions: query and passage get a vector each, and passages are ranked by the similarity
of theirs to the query's. An instruction is part of the query's text, after it.

## How it is asked

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("THIS_FOLDER")
queries = model.encode_query(["opening hours of the museum, only on Mondays"])
passages = model.encode_document(["The museum opens on Mondays from ten."])
print(model.similarity(queries, passages))
```

## Where it comes from

{origin}

## Licence

{licence}
Made with rerank-distill {__version__}.
"""


def _header(
    base: str,
    dataset: dict[str, Any],
    name: str,
    results: Results,
    library: str,
    task: str = "text-ranking",
) -> ModelCardData:
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
        library_name=library,
        pipeline_tag=task,
        base_model=base if base != "scratch" and not Path(base).exists() else None,
        license=licence,
        license_name=licence_name,
        tags=list(dict.fromkeys(["reranker", "reasoning", "distillation", "rank1", *(dataset.get("tags") or [])])),
        model_name=name,
        eval_results=measured or None,
    )


def _mode(target: str, by_hand: bool) -> str:
    """How it answers; `by_hand` where whoever serves it writes the prompt, which an export's template does itself."""
    after = "`\\n</think>` after the prompt"
    said = {
        "think": "It reasons first.",
        "direct": "It answers without reasoning" + (f": put {after}, and read the next token." if by_hand else "."),
        "verdict_first": "It answers without reasoning"
        + (f" (put {after}) and can give reasons then." if by_hand else ", before any reasons."),
        "mixed": f"It can reason first, or answer without reasoning when {after.replace(' after', ' is put after')}."
        if by_hand
        else "It was trained with and without reasoning, and is read without here.",
    }
    return said.get(target, "")


def _origin(config: dict[str, Any], run: Path, base: str, target: str, made: dict[str, Any]) -> dict[str, Any]:
    metrics = read_as(RunMetrics, store.read_json(run / "metrics.json"))
    kept, pairs = metrics.counts("filter").kept, metrics.counts("pairs").pairs
    sft, made_from = config.get("sft") or {}, _made_from(config, base)
    lora = sft.get("lora")
    training = {key: value for key, value in (sft.get("training") or {}).items() if not isinstance(value, dict)}
    return {
        "base": "made from scratch" if base == "scratch" else f"{base} {sft.get('revision') or ''}".strip(),
        "pairs": _number(pairs),
        "data": made_from.get("data", "unknown"),
        "teacher": made_from.get("teacher", "unknown"),
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


def _results(run: Path, student: str, chosen_on: str | None) -> Results:
    """The measures of the student's systems and of what they are compared with, less the set that something was chosen
    on, where there is another."""
    metrics = read_as(RunMetrics, store.read_json(run / "metrics.json"))
    chosen = {chosen_on} if len(metrics.evaluation) > 1 else set()
    return {
        (set_name, system): {name: values[name] for name in MEASURES if name in values}
        for set_name, measured in metrics.evaluation.items()
        for system, values in measured.items()
        if set_name not in chosen and (system in BASELINES or system.split(".")[0] == student)
    }


def _intervals(run: Path) -> Mapping[str, Intervals]:
    """The 95 % intervals of each set's measures, where the run has them."""
    return read_as(RunMetrics, store.read_json(run / "metrics.json")).intervals


def _results_table(results: Results, intervals: Mapping[str, Intervals]) -> str:
    """The measures, each with its 95 % interval where there is one."""
    rows = [
        [
            words(set_name),
            words(system),
            *(_measured(values.get(name), intervals.get(set_name, {}).get(system, {}).get(name)) for name in MEASURES),
        ]
        for (set_name, system), values in results.items()
    ]
    return markdown(["set", "system", *MEASURES], rows) + "\n" if rows else "Not evaluated.\n"


def _measured(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})" if interval else f"{value:.3f}"


def _made_from(config: dict[str, Any], base: str) -> dict[str, str]:
    """Base, teacher and data by their names, of a run whose configuration is known."""
    if not config:
        return {}
    pairs, teacher = config.get("pairs") or {}, config.get("teacher") or {}
    endpoints = teacher.get("endpoints") or [{}]
    return {
        "base": "made from scratch" if base == "scratch" else base,
        "teacher": str(teacher.get("name") or endpoints[0].get("model") or teacher.get("source") or "unknown"),
        "data": str(pairs.get("path") or pairs.get("source") or "unknown"),
    }


def _licence(dataset: dict[str, Any], made_from: Mapping[str, str]) -> str:
    """The student's licence, then those of what went in; where none was named, of base, teacher and data, that."""
    licences = dataset.get("licences") or {}
    said = [f"- {words(str(what))}: {words(str(terms))}" for what, terms in licences.items()]
    if not said:
        said = [
            f"- {what} ({words(name)}): {'none needed' if name == 'made from scratch' else 'not named'}"
            for what, name in made_from.items()
        ]
    whole = dataset.get("licence")
    lines = [f"{words(str(whole))}." if whole else "None was named: ask whoever made it, and mind the base's own."]
    return "\n".join([*lines, *(["", "Of what went in:", "", *said] if said else [])]) + "\n"
