"""One name for one thing: no class, function or module has a name that was given up, no text has a private word."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("distill", "teacher", "filters", "sft")

# Types and modules that have other names now, with what they are called.
CLASSES = {
    "Asking": "Session", "Desk": "Worker, EngineThread", "Crew": "ActorPool", "Slip": "PendingRequest",
    "Sheet": "WireRequest", "Delivery": "WorkerReport", "Office": "BatchFiles", "Gauge": "EndpointLimits",
    "Course": "Action", "Plan": "SamplePlan", "Fate": "Rejection", "Written": "ShardCounts", "Form": "StudentFormat",
    "Opinion": "RawJudgement", "Ticket": "RerankRequest", "Building": "PairBuilder",
}  # fmt: skip
FUNCTIONS = {
    "purses": "budgets", "travels": "picklable", "suspects": "prefilter", "sheet": "review_sheet",
    "handed": "filter_tools", "forecast": "dry_run", "ablated": "ablation_table", "_take": "reuse_stage",
    "donors": "finished_runs", "crew": "processes", "watch": "callbacks", "drawn": "subsample", "opening": "registry",
    "holes": "unjudged", "job": "resumable_run", "chain": "cache_keys", "memory": "cache", "outcome": "write",
    "asking": "generation", "parts": "split",
}  # fmt: skip
MODULES = {*FUNCTIONS, "line", "tools", "dataset", "dev"}
ALLOWED = {"distill/publish/formats/dataset.py", "distill/pipeline/dataset.py"}  # the format and the stage of that name

# Words that were given up, as expressions over docstrings, messages, help texts and docs, with a better word.
WORDS = {
    r"\b(?:every|another|other|this|that|its own|SFT) rooms?(?:'s)?\b(?! (?:for|left|to|of|in\b))": "package",
    r"\brooms\b": "packages",
    r"\bdesks?\b": "worker",
    r"\bhonest box\b": "limits",
    r"\b(?:the|its) whole line\b|\bthe line (?:works|ends|ended|runs)\b|\bthe line's\b": "the pipeline",
    r"\bline of stages\b": "stages",
    r"\bfrom nothing\b": "from scratch",
    r"\btold\b": "named, said, given",
    r"\basked directly\b": "of mode direct",
    r"\bput out\b": "rejected, disabled",
    r"(?<![-.`\"'\[])\bholes?\b(?![`\"':.\]])": "unjudged passages",
    r"\bbeside\b": "next to, with, apart from",
    r"\bat once\b": "together, immediately",
    r"\bstands (?:twice|there|alone|beside|in|at|before|under)\b": "is",
}
# Where such a word is the data itself: what teachers write, what searchers ask, a file's key.
DATA = (
    "filters/leak.py",
    "filters/_leak_rules.py",
    "distill/rerank/instructions/__init__.py",
    "distill/example/vocabulary.py",
)


def sources() -> Iterator[tuple[str, ast.Module, str]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            yield str(path.relative_to(ROOT)), ast.parse(text), text


def texts() -> Iterator[tuple[str, str]]:
    """(where, text) of every string and comment of the packages, and of every line of the docs."""
    for name, _, source in sources():
        if name in DATA:
            continue
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            kinds = [tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", tokenize.COMMENT)]
            if token.type in kinds:
                yield f"{name}:{token.start[0]}", token.string
    for path in sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            yield f"{path.relative_to(ROOT)}:{number}", line


def test_nothing_bears_a_name_that_was_given_up() -> None:
    found = []
    for name, tree, _ in sources():
        module = Path(name).stem
        if (module in MODULES or {"line", "dataset"} & set(Path(name).parts[:-1])) and name not in ALLOWED:
            found.append(f"{name}: a module of an old name")
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.name in CLASSES:
                found.append(f"{name}:{node.lineno}: class {node.name} is {CLASSES[node.name]} now")
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in FUNCTIONS:
                found.append(f"{name}:{node.lineno}: {node.name} is {FUNCTIONS[node.name]} now")
    assert not found, "\n".join(found)


def test_texts_hold_no_private_words() -> None:
    found = [
        f"{where}: {match.group()!r}, better {better!r}: {text.strip()[:100]}"
        for where, text in texts()
        for word, better in WORDS.items()
        for match in re.finditer(word, text, re.IGNORECASE)
    ]
    assert not found, "\n".join(found)
