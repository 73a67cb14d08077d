"""The dataset card (README.md) of a run: a YAML header that the hub reads, and what a person should know before use.

Everything that a model, a user or a document wrote is escaped, or is in a code block that it cannot close.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill import __version__, store
from distill.prompts import PROMPT_NAME, PROMPTS, Elicit, teacher_prompt
from distill.publish.formats.base import ExportCounts
from distill.publish.settings import DatasetSettings
from distill.publish.tally import RowCounts
from distill.results import FilterCounts, StageCounts, read_as

if TYPE_CHECKING:
    from huggingface_hub import DatasetCardData

# Licence identifiers of the hub that data usually has; any other text becomes `other` with the text as its name.
LICENCES = frozenset(
    """
    afl-3.0 agpl-3.0 apache-2.0 bsd-2-clause bsd-3-clause cc cc-by-2.0 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0
    cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0
    cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0 gfdl gpl-2.0 gpl-3.0 lgpl-3.0 mit mpl-2.0 odbl
    odc-by openrail pddl unknown unlicense
    """.split()  # noqa: SIM905 - a list literal would take thirty lines
)
NOT_ASKED = "not asked (budget, or no room)"
JUDGED_FLOW = {"pairs": "pairs", NOT_ASKED: "without a label", "rejected": "rejected", "kept": "kept"}
TRACES = ("reasoning", "distillation")  # the tags of a teacher's traces, which judged pairs are not
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10**7, "1M<n<10M"))


def render(
    run: Path, counts: RowCounts, written: ExportCounts, settings: DatasetSettings, name: str, columns: bool
) -> str:
    """The card's text; `columns` says what each column of the Parquet rows is."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # this is Markdown: `words` and `fenced` escape
    )
    environment.filters |= {"words": words, "fenced": fenced, "count": lambda n: f"{n:,}"}
    made = provenance(run)
    if counts.judged:
        made["flow"] = {JUDGED_FLOW[what]: n for what, n in made["flow"].items() if what in JUDGED_FLOW}
    text = environment.get_template("card.md.j2").render(
        name=name,
        settings=settings,
        found=counts,
        written=written,
        columns=(COLUMNS | JUDGED_COLUMNS if counts.judged else COLUMNS) if columns else {},
        example=counts.examples.get(1) or counts.examples.get(0),
        version=__version__,
        **made,
    )
    body = re.sub(r"\n{3,}", "\n\n", text).strip()
    return f"---\n{header(counts, written, settings, name).to_yaml()}\n---\n\n{body}\n"


def header(counts: RowCounts, written: ExportCounts, settings: DatasetSettings, name: str) -> DatasetCardData:
    """The card's metadata, by the hub's names."""
    from huggingface_hub import DatasetCardData

    languages = settings.language or sorted(k for k in counts.by["language"] if re.fullmatch(r"[a-z]{2,3}", k))
    licence, licence_name = licence_of(settings.licence)
    return DatasetCardData(
        language=languages or None,
        license=licence,
        license_name=licence_name,
        pretty_name=settings.name or name,
        size_categories=[next((label for limit, label in SIZES if counts.rows < limit), "10M<n<100M")],
        task_categories=["text-ranking", "text-generation"],
        tags=list(
            dict.fromkeys([*(() if counts.judged else TRACES), "reranking", "information-retrieval", *settings.tags])
        ),
        configs=written.configs,
        dataset_info=written.info or None,
    )


def licence_of(licence: str | None) -> tuple[str | None, str | None]:
    """(licence, its name) as the hub has them: one that it lists, or `other` with a name; None where none is given."""
    plain = (licence or "").strip().lower()
    if not plain or plain in LICENCES:
        return plain or None, None
    return "other", re.sub(r"[^a-z0-9.]+", "-", plain).strip("-") or "see-card"


def provenance(run: Path) -> dict[str, Any]:
    """What the run's manifests say of how the rows came to be; empty values where a stage has not said."""
    manifests = {folder: store.read_manifest(run / folder) or {} for folder in ("pairs", "traces", "kept")}
    pairs, traces, kept = (manifests[folder].get("result") or {} for folder in manifests)
    asked = manifests["traces"].get("settings") or {}
    flow = {
        "pairs": pairs.get("pairs", pairs.get("rows")),
        "samples due": {**kept, **traces}.get("samples_due"),
        NOT_ASKED: {**traces, **kept}.get("not_asked"),
        "failed": {**traces, **kept}.get("failed"),
        "rejected": kept.get("rejected"),
        "kept": kept.get("kept", kept.get("rows")),
    }
    return {
        "flow": {key: value for key, value in flow.items() if isinstance(value, int)},
        "rejects": _rejects(read_as(StageCounts, kept).by_filter),
        "filters": _filters(manifests["kept"].get("settings")),
        "sampling": {key: value for key, value in sorted(_flat(asked)) if value is not None},
        "prompt": _prompt(asked),
        "hashes": {folder: str((m.get("result") or {}).get("data_hash", ""))[:16] for folder, m in manifests.items()},
        "versions": manifests["kept"].get("versions") or {},
    }


def _prompt(asked: Mapping[str, Any]) -> str:
    """The message that the teacher got, with the names of its fields for texts."""
    name = asked.get("prompt")
    elicit: Elicit = "written" if "written" in (asked.get("elicit") or {}) else "native"
    return teacher_prompt("{query}", "{passage}", "{instruction}", name if name in PROMPTS else PROMPT_NAME, elicit)


def words(value: object) -> str:
    """Any text as plain words in Markdown: no markup, no HTML, no link, no new line, no table cell of its own."""
    line = " ".join(str(value).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = re.sub(r"([\\`*_{}\[\]#!|~])", r"\\\1", line)
    return re.sub(r"(?i)\b(https?|ftp|www)([:.])", r"\1&#8203;\2", line)


def fenced(text: str, language: str = "text") -> str:
    """A code block with a fence longer than any run of backticks in the text."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def _rejects(by_filter: Mapping[str, FilterCounts]) -> list[tuple[str, int, list[tuple[str, int]]]]:
    """(filter, rejected, its most frequent reasons)."""
    return [
        (name, counts.rejected, sorted(counts.reasons.items(), key=lambda reason: (-reason[1], reason[0]))[:5])
        for name, counts in by_filter.items()
        if counts.rejected
    ]


def _filters(settings: Any) -> list[str]:
    """The filters in words: the name, with its thresholds where it has any."""
    settings = settings.get("filters") if isinstance(settings, Mapping) else settings
    entries = settings if isinstance(settings, list) else []
    return [
        name + (f" ({', '.join(f'{key} {value}' for key, value in thresholds.items())})" if thresholds else "")
        for entry in entries
        if isinstance(entry, Mapping)
        for name, thresholds in entry.items()
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in values.items():
        rows += _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", value)]
    return rows


COLUMNS = {
    "pair_id": "hash of query, instruction and passage",
    "sample": "which of the teacher's samples of this pair",
    "query_id, doc_id": "the ids in the source",
    "query, instruction, passage": "what was judged; instruction may be null",
    "label": "grade of relevance (0 = not relevant), null where nobody judged",
    "label_origin, label_before": "who set the label: judged, assumed (a mined negative), teacher, vote or human, the "
    "last three with the earlier grade, where there was one",
    "relevant_from": "the lowest grade that counts as relevant",
    "reasoning, answer": "the teacher's words, its reasoning and its answer apart",
    "verdict": "what is trained: 1 true, 0 false; a graded teacher's grade",
    "prompt, completion": "the text that a thinking student reads and writes, byte for byte",
    "source, split, language": "where the pair comes from, such as qrels or bm25 with its rank",
    "teacher, finish_reason, prompt_tokens, completion_tokens": "the model, how its answer ended, tokens as billed",
    "p_relevant": "the probability of relevant by the teacher's own log-probabilities, null where they are not known",
}

JUDGED_COLUMNS = {
    "sample": "always 0",
    "reasoning, answer": "no reasoning (always empty), and the label in the prompt's words",
    "verdict": "what is trained: 1 true, 0 false; of a graded prompt the grade",
    "prompt, completion": "the text that a student without reasoning reads and writes, byte for byte",
    "teacher, finish_reason, prompt_tokens, completion_tokens": "always `labels`, `stop`, 0 and 0: no model was asked",
    "p_relevant": "always null",
}
