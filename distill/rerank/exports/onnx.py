"""An ONNX graph from token ids to the margin, for onnxruntime, by torch's exporter.

Its graph has the rows of the verdicts' words for a head, and the mean of the grades where there are more than two.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.errors import ConfigError, InputError
from distill.records import Pair
from distill.rerank.exports import encoders
from distill.rerank.exports.base import BATCH, ExportedStudent, Format
from distill.rerank.exports.template import rendered, save_tokenizer, server_tokenizer
from distill.weights import load_causal_lm

if TYPE_CHECKING:
    import torch

FILE = "model.onnx"
WHOLE = 1_900_000_000  # bytes of weights that fit into one file; ONNX ends at two gigabytes
NAMES: tuple[str, ...] = ("input_ids", "attention_mask")
MISSING = "--to onnx needs the packages onnx, onnxscript and onnxruntime; pip install 'rerank-distill[onnx]'"


class Onnx(Format):
    """`model.onnx`: input_ids and attention_mask (rows, positions), padded on the left, to margin (rows); tokenizer."""

    read_by = "onnxruntime"
    library = "onnx"
    graded = True
    encoders = True

    def write(self, student: ExportedStudent, out: Path) -> None:
        """The graph, and a tokenizer with the prompt as its template.

        Raises ConfigError without the packages, InputError where torch has no such graph.
        """
        try:
            import onnxscript  # noqa: F401 - torch's exporter imports it
        except ModuleNotFoundError:
            raise ConfigError(MISSING) from None
        import torch

        if student.form.writes:
            graph, names = margin_of(load_causal_lm(str(student.folder), dtype="float32").eval(), student), NAMES
        else:
            graph, names = encoders.margin_of(student), encoders.inputs_of(student)
        size = sum(values.numel() * values.element_size() for values in graph.parameters())
        example = torch.ones(2, 7, dtype=torch.long)
        mask = example.clone()
        mask[0, :3] = 0  # of a mask without padding, transformers makes a graph without a mask
        rows, positions = torch.export.Dim("rows", min=1), torch.export.Dim("positions", min=2)
        each = {0: rows, 1: positions}
        shapes = dict.fromkeys(names, each) if student.form.writes else (tuple(each for _ in names),)
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():  # it reports each of its steps
            warnings.simplefilter("ignore")
            logging.getLogger("torch.onnx").setLevel(logging.ERROR)
            try:
                program = torch.onnx.export(
                    graph.eval(),
                    (example, mask, torch.zeros_like(mask))[: len(names)],
                    dynamo=True,
                    input_names=names,
                    output_names=["margin"],
                    dynamic_shapes=shapes,
                    verbose=False,
                )
            except torch.onnx.errors.OnnxExporterError as error:
                raise InputError(f"{student.folder}: torch makes no ONNX graph of it ({error})") from None
        assert program is not None
        program.save(out / FILE, external_data=size > WHOLE)
        if student.form.writes:
            save_tokenizer(server_tokenizer(student), out)
        else:
            student.form.tokenizer.save_pretrained(out)

    def margins(self, student: ExportedStudent, out: Path, pairs: Sequence[Pair]) -> list[float]:
        """By onnxruntime on the CPU."""
        try:
            import onnxruntime
        except ModuleNotFoundError:
            raise ConfigError(MISSING) from None
        from transformers import AutoTokenizer

        session = onnxruntime.InferenceSession(out / FILE, providers=["CPUExecutionProvider"])
        if not student.form.writes:
            return encoders.run(session, out, pairs)
        tokenizer: Any = AutoTokenizer.from_pretrained(out)
        texts = rendered(tokenizer, pairs)
        found: list[float] = []
        for start in range(0, len(texts), BATCH):
            batch = tokenizer(texts[start : start + BATCH], padding=True, return_tensors="np")
            found += session.run(None, {name: batch[name].astype("int64") for name in NAMES})[0].tolist()
        return found

    def serve(self, student: ExportedStudent, folder: Path | str) -> str:
        """Lines of Python."""
        return f"import onnxruntime; onnxruntime.InferenceSession({str(Path(folder) / FILE)!r})"

    def use(self, student: ExportedStudent) -> str:
        """How to use it."""
        if not student.form.writes:
            return encoders.USE_ONNX
        return """\
With [onnxruntime](https://onnxruntime.ai):

```python
import onnxruntime
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("THIS_FOLDER")  # pads on the left
session = onnxruntime.InferenceSession("THIS_FOLDER/model.onnx")


def margins(query, passages):
    pairs = [[{"role": "query", "content": query}, {"role": "document", "content": text}] for text in passages]
    texts = tokenizer.apply_chat_template(pairs, tokenize=False)
    batch = tokenizer(texts, padding=True, return_tensors="np")
    return session.run(None, {name: batch[name].astype("int64") for name in ("input_ids", "attention_mask")})[0]
```

These are log-odds; 1 / (1 + exp(-margin)) is the score."""


def margin_of(model: Any, student: ExportedStudent) -> torch.nn.Module:
    """The module that is exported: the model's body, then the margin of the last position.

    Raises InputError for a head that is no matrix.
    """
    import torch

    head = model.get_output_embeddings()
    if not isinstance(head, torch.nn.Linear):
        raise InputError(f"{student.folder}: its head is no matrix, so the verdicts' words have no rows")
    verdicts, top = list(student.form.verdicts), max(student.form.grades)
    true = torch.tensor([math.log(grade / top) if grade else -math.inf for grade in student.form.grades])
    false = torch.tensor([math.log(1 - grade / top) if grade < top else -math.inf for grade in student.form.grades])

    class Margin(torch.nn.Module):
        """Log-odds of the expected grade."""

        def __init__(self) -> None:
            super().__init__()
            self.body = model.base_model
            self.head = torch.nn.Linear(head.in_features, len(verdicts), bias=head.bias is not None)
            self.head.weight = torch.nn.Parameter(head.weight[verdicts].detach().clone())
            if head.bias is not None:
                self.head.bias = torch.nn.Parameter(head.bias[verdicts].detach().clone())

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            """(rows,) of (rows, positions)."""
            places = (attention_mask.cumsum(-1) - 1).clamp(min=0)
            states = self.body(
                input_ids=input_ids, attention_mask=attention_mask, position_ids=places, use_cache=False
            ).last_hidden_state
            logits = self.head(states[:, -1])
            return torch.logsumexp(logits + true, -1) - torch.logsumexp(logits + false, -1)

    return Margin()
