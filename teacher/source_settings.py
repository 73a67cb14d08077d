"""The settings of single sources: the engine of `vllm`, the files of `batch`, the traces of `import`. For the settings.

A path among them is seen from the configuration's file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from distill.answers import JsonObject
from distill.config import Settings, resolve_path


def _beside(value: str | None, info: ValidationInfo) -> str | None:
    """A path of the configuration as seen from its file; a hub's model name stays as it is."""
    base = (info.context or {}).get("base")
    return value if value is None or base is None else resolve_path(base, value)


def _beside_if_there(value: str | None, info: ValidationInfo) -> str | None:
    path = _beside(value, info)
    return path if path is not None and "://" not in path and Path(path).exists() else value


PathBeside = Annotated[str, AfterValidator(_beside)]
NameOrPath = Annotated[str, AfterValidator(_beside_if_there)]


class EngineSettings(Settings):
    """`source: vllm`: each worker owns an engine; every other argument of vLLM goes into `args`."""

    model: NameOrPath = Field(description="a folder or hub name")
    tensor_parallel_size: int = Field(1, ge=1, description="GPUs that one engine is split over")
    args: JsonObject = Field({}, description="every other argument of vllm.LLM")
    env: dict[str, str] = Field({}, description="environment of the engine, such as VLLM_CPU_KVCACHE_SPACE")


class BatchSettings(Settings):
    """`source: batch`: through the first endpoint's Batch API, or, with `folder`, files for `vllm run-batch`."""

    folder: PathBeside | None = Field(
        None, description="write the files here and read NAME.out.jsonl there; default: upload them"
    )
    api: Literal["openai", "anthropic"] | None = Field(
        None,
        description="whose protocol the endpoint speaks; default: Anthropic's at api.anthropic.com, else OpenAI's",
    )
    lines: int = Field(50_000, ge=1, le=50_000, description="requests a file (OpenAI's limit is 50,000)")
    poll_s: float = Field(60, gt=0, description="seconds between two looks at a batch")
    completion_window: str = Field("24h", description="as OpenAI's Batch API names it")
    discount: float = Field(0.5, gt=0, le=1, description="what a batch costs, as a share of the endpoint's price")


class ImportSettings(Settings):
    """`source: import`: traces that exist. `columns` names them where they are not found by themselves.

    Found by themselves: `query`, `passage`, `title`, `instruction`, `reasoning`, `content`, `verdict`, `p_relevant`; or
    Rank1's `prompt` and `completion`, with the prompt's frame around query and passage; or `messages`.
    """

    path: PathBeside = Field(description="a file of JSON, JSON lines, CSV, TSV or Parquet, or a folder of them")
    columns: dict[str, str] = Field(
        {},
        description="what the files call query, passage, title, instruction, reasoning, content, verdict, p_relevant, "
        "where they have other names",
    )
