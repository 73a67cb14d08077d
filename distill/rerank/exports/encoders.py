"""A cross-encoder in the formats of `cross-encoder` and `onnx`, which hold it as it is. Used by those two.

Its folder is sentence-transformers' own already; the instruction follows the query (`distill.prompts.query_text`).
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.prompts import query_text
from distill.records import Pair
from distill.rerank.encoder_format import EncoderFormat
from distill.rerank.exports.base import BATCH, ExportedStudent
from distill.store import write_json
from distill.weights import load_encoder

if TYPE_CHECKING:
    import torch

WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "config.json")
# sentence-transformers' own files. Without them it would give the sigmoid of the logit.
MODULES = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"}]
TRANSFORMER = {
    "transformer_task": "sequence-classification",
    "modality_config": {"text": {"method": "forward", "method_output_name": "logits"}},
    "module_output_name": "scores",
}
SETTINGS = {"model_type": "CrossEncoder", "activation_fn": "torch.nn.modules.linear.Identity"}
USE = """\
With [sentence-transformers](https://sbert.net); an instruction follows the query after a space:

```python
from sentence_transformers import CrossEncoder

CrossEncoder("THIS_FOLDER").predict([("query instruction", "passage")])
```

These are log-odds; 1 / (1 + exp(-score)) is the probability. What loads one-logit classifiers takes the folder too."""
USE_ONNX = """\
With [onnxruntime](https://onnxruntime.ai); an instruction follows the query after a space:

```python
import onnxruntime
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("THIS_FOLDER")
session = onnxruntime.InferenceSession("THIS_FOLDER/model.onnx")
batch = tokenizer(["query instruction"], ["passage"], padding=True, truncation="only_second", return_tensors="np")
session.run(None, {each.name: batch[each.name] for each in session.get_inputs()})[0]
```

These are log-odds; 1 / (1 + exp(-margin)) is the score."""


def inputs_of(student: ExportedStudent) -> tuple[str, ...]:
    """The names of what the encoder reads."""
    typed = isinstance(student.form, EncoderFormat) and student.form.typed
    return ("input_ids", "attention_mask", *(("token_type_ids",) if typed else ()))


def copy(student: ExportedStudent, out: Path) -> None:
    """Its weights as they are, its tokenizer, and sentence-transformers' files, by which it gives the logit."""
    for path in {path for pattern in WEIGHTS for path in student.folder.glob(pattern)}:
        shutil.copy2(path, out / path.name)
    student.form.tokenizer.save_pretrained(out)
    write_json(out / "modules.json", MODULES)
    write_json(out / "sentence_bert_config.json", TRANSFORMER)
    write_json(out / "config_sentence_transformers.json", SETTINGS)


def predicted(out: Path, pairs: Sequence[Pair]) -> list[float]:
    """Log-odds by sentence-transformers."""
    from sentence_transformers import CrossEncoder

    model: Any = CrossEncoder(str(out), model_kwargs={"dtype": "float32"}, local_files_only=True)
    scores: list[float] = model.predict(_texts(pairs)).tolist()
    return scores


def run(session: Any, out: Path, pairs: Sequence[Pair]) -> list[float]:
    """Log-odds by a session of onnxruntime."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(out)
    names = [each.name for each in session.get_inputs()]
    margins: list[float] = []
    for start in range(0, len(pairs), BATCH):
        texts = _texts(pairs[start : start + BATCH])
        batch = tokenizer(*map(list, zip(*texts, strict=True)), padding=True, return_tensors="np")
        margins += session.run(None, {name: batch[name].astype("int64") for name in names})[0].tolist()
    return margins


def margin_of(student: ExportedStudent) -> torch.nn.Module:
    """The module that is exported: ids, mask and kinds of positions in, log-odds out."""
    import torch

    model: Any = load_encoder(str(student.folder), dtype="float32")
    names = inputs_of(student)

    class Margin(torch.nn.Module):
        """The one logit."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            """(rows,) of (rows, positions) each."""
            logits: torch.Tensor = self.model(**dict(zip(names, inputs, strict=True))).logits
            return logits[:, 0]

    return Margin()


def _texts(pairs: Sequence[Pair]) -> list[tuple[str, str]]:
    return [(query_text(pair.query, pair.instruction), pair.passage) for pair in pairs]
