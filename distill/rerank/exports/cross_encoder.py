"""A reranker that sentence-transformers' `CrossEncoder(folder)` loads, from 5.4 on, without code of this project.

Its module `LogitScore` reads the logits of the two words at the last position, and its score is their difference.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distill.errors import ConfigError
from distill.records import Pair
from distill.rerank.exports import encoders
from distill.rerank.exports.base import ExportedStudent, Format
from distill.rerank.exports.seq_cls import for_transformers_4
from distill.rerank.exports.template import save_tokenizer, server_tokenizer
from distill.store import write_json

WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json")
MODULES = (
    ("", "sentence_transformers.base.modules.transformer.Transformer"),
    ("1_LogitScore", "sentence_transformers.cross_encoder.modules.logit_score.LogitScore"),
)
LOGITS = {"method": "forward", "method_output_name": "logits"}
TRANSFORMER = {
    "transformer_task": "text-generation",
    "modality_config": {"text": LOGITS, "message": {**LOGITS, "format": "flat"}},
    "module_output_name": "causal_logits",
}


class CrossEncoder(Format):
    """The student's weights as they are, its prompt as the tokenizer's template, and which words' logits to read."""

    read_by = "sentence-transformers"
    library = "sentence-transformers"
    encoders = True

    def write(self, student: ExportedStudent, out: Path) -> None:
        """Weights, configuration, tokenizer and sentence-transformers' own files."""
        if not student.form.writes:
            return encoders.copy(student, out)
        for path in {path for pattern in WEIGHTS for path in student.folder.glob(pattern)}:
            shutil.copy2(path, out / path.name)
        for_transformers_4(out / "config.json")
        save_tokenizer(server_tokenizer(student), out)
        modules = [
            {"idx": number, "name": str(number), "path": path, "type": kind}
            for number, (path, kind) in enumerate(MODULES)
        ]
        write_json(out / "modules.json", modules)
        write_json(out / "sentence_bert_config.json", TRANSFORMER)
        settings = {"model_type": "CrossEncoder", "activation_fn": "torch.nn.modules.activation.Sigmoid"}
        write_json(out / "config_sentence_transformers.json", settings)
        (out / MODULES[1][0]).mkdir()
        words = {"true_token_id": student.true, "false_token_id": student.false}
        write_json(out / MODULES[1][0] / "config.json", words)

    def margins(self, student: ExportedStudent, out: Path, pairs: Sequence[Pair]) -> list[float]:
        """By `CrossEncoder.predict`; an instruction is its `prompt`."""
        import torch

        try:
            from sentence_transformers import CrossEncoder as Loaded
        except ModuleNotFoundError:
            raise ConfigError(
                "--to cross-encoder is checked with sentence-transformers; pip install 'sentence-transformers>=5.4'"
            ) from None
        if not student.form.writes:
            return encoders.predicted(out, pairs)
        model: Any = Loaded(str(out), model_kwargs={"dtype": "float32"}, local_files_only=True)
        by_instruction: defaultdict[str | None, list[int]] = defaultdict(list)
        for number, pair in enumerate(pairs):
            by_instruction[pair.instruction].append(number)
        found = [0.0] * len(pairs)
        for instruction, numbers in by_instruction.items():
            texts = [(pairs[number].query, pairs[number].passage) for number in numbers]
            scores = model.predict(texts, prompt=instruction, activation_fn=torch.nn.Identity())
            for number, score in zip(numbers, scores.tolist(), strict=True):
                found[number] = score
        return found

    def serve(self, student: ExportedStudent, folder: Path | str) -> str:
        """Lines of Python."""
        return f"from sentence_transformers import CrossEncoder; CrossEncoder({str(folder)!r}).rank(query, passages)"

    def use(self, student: ExportedStudent) -> str:
        """How to use it."""
        if not student.form.writes:
            return encoders.USE
        return f"""\
With [sentence-transformers](https://sbert.net) 5.4 or later, without remote code; an instruction is the `prompt`:

```python
{self.serve(student, "THIS_FOLDER")}
```

The scores are P(true) / (P(true) + P(false)); with `activation_fn=torch.nn.Identity()` they are the log-odds."""
