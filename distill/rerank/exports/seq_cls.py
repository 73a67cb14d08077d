"""A classifier of one logit, the margin: vLLM, Infinity and transformers load it without code of this project.

The row of its head is head[true] - head[false], so that its logit is the difference of the two words' logits, and its
sigmoid the student's score.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distill.errors import InputError
from distill.records import Pair
from distill.rerank.exports.base import BATCH, ExportedStudent, Format
from distill.rerank.exports.template import frames, rendered, save_tokenizer, server_tokenizer
from distill.store import read_json, write_json
from distill.weights import load_causal_lm

INFINITY = "infinity_emb v2 --model-id {} --engine torch --dtype float32 --no-trust-remote-code"
"""Serves the folder in Infinity (0.0.78), whose own dtype is 16 bits on a GPU."""


class SeqCls(Format):
    """Weights with a head of one row, configuration, and a tokenizer with the prompt as its template."""

    read_by = "transformers"
    library = "transformers"

    def write(self, student: ExportedStudent, out: Path) -> None:
        """Weights, configuration and tokenizer.

        Raises InputError for a head or architecture that has no such classifier.
        """
        model = load_causal_lm(str(student.folder), dtype="auto")
        tokenizer = server_tokenizer(student)
        classifier(model, student, tokenizer.pad_token_id).save_pretrained(out)
        save_tokenizer(tokenizer, out)
        for_transformers_4(out / "config.json")

    def margins(self, student: ExportedStudent, out: Path, pairs: Sequence[Pair]) -> list[float]:
        """Each pair's logit, by transformers alone: template, tokenizer and classifier as a server has them."""
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        tokenizer: Any = AutoTokenizer.from_pretrained(out)
        model: Any = AutoModelForSequenceClassification.from_pretrained(out, dtype="float32").eval()
        texts = rendered(tokenizer, pairs)
        found: list[float] = []
        for start in range(0, len(texts), BATCH):
            batch = tokenizer(texts[start : start + BATCH], padding=True, return_tensors="pt")
            with torch.inference_mode():
                logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
            found += logits[:, 0].tolist()
        return found

    def serve(self, student: ExportedStudent, folder: Path | str) -> str:
        """The line that serves the folder in vLLM, which would round weights of 32 bits to 16 by itself."""
        return (
            f"vllm serve {folder} --runner pooling --chat-template {folder}/chat_template.jinja "
            f"--max-model-len {student.form.context} --dtype float32"
        )

    def use(self, student: ExportedStudent) -> str:
        """How to serve it, in Markdown."""
        query, passage = frames(student.form)
        return f"""\
With [vLLM](https://docs.vllm.ai), whose `/rerank` and `/score` then take `query` and `documents` as they are (a
field `instruction` goes into the prompt); the score is P(true) / (P(true) + P(false)), its log-odds with
`"use_activation": false`:

```bash
{self.serve(student, "THIS_FOLDER")}
```

With [Infinity](https://github.com/michaelfeil/infinity), and any other server that joins query and passage without a
template, send each in its frame (`"raw_scores": true` gives Infinity's log-odds):

```bash
{INFINITY.format("THIS_FOLDER")}
```

```
query     {json.dumps(query)}
document  {json.dumps(passage)}
```

with the texts for the braces, control tokens in them broken (`< think>`). With transformers:
`AutoModelForSequenceClassification`, the tokenizer's chat template with a message of role `query` and one of role
`document`, encoded as a whole; the one logit is the log-odds."""


def classifier(model: Any, student: ExportedStudent, pad: int) -> Any:
    """The causal model's body with a head of one row, in float32 whatever the body's precision."""
    import torch
    from transformers import AutoModelForSequenceClassification

    head = model.get_output_embeddings()
    if not isinstance(head, torch.nn.Linear) or head.bias is not None:
        raise InputError(f"{student.folder}: its head is no matrix without bias, so no row of it is the margin")
    row = head.weight[student.true].float() - head.weight[student.false].float()
    config = model.config
    config.num_labels, config.pad_token_id = 1, pad
    try:
        with torch.device("meta"):
            made: Any = AutoModelForSequenceClassification.from_config(config)
    except ValueError:
        raise InputError(f"{student.folder}: transformers has no classifier of {config.model_type} models") from None
    if not isinstance(vars(made)["_modules"].get("score"), torch.nn.Linear):
        raise InputError(
            f"{student.folder}: the classifier of {config.model_type} has no plain head; use cross-encoder"
        )
    made.score = torch.nn.Linear(len(row), 1, bias=False)
    made.score.weight = torch.nn.Parameter(row[None].detach().clone())
    setattr(made, made.base_model_prefix, model.base_model)
    return made


def for_transformers_4(path: Path) -> None:
    """Write the rotary settings under the names of transformers 4 too, which Infinity has: it would take its default
    for the base of the rotation without a word."""
    config = read_json(path) or {}
    rope = config.get("rope_parameters") or {}
    older: dict[str, Any] = {"rope_theta": rope["rope_theta"]} if "rope_theta" in rope else {}
    if rope.get("rope_type", "default") != "default":
        older["rope_scaling"] = {key: value for key, value in rope.items() if key != "rope_theta"}
    if "dtype" in config:
        older["torch_dtype"] = config["dtype"]
    write_json(path, {**config, **older})
