"""The model that an encoder's training starts from: a base loaded, or a small one of random weights. Used by
`sft.encoder`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from distill.errors import ConfigError, InputError, first_line
from distill.records import LabelledPair
from distill.store import read_rows
from distill.weights import check_files
from sft.scratch import ScratchSettings, train_tokenizer
from sft.settings import SftSettings
from sft.training_job import TrainingJob

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder
    from transformers import PreTrainedTokenizerFast

CLS, SEP = "[CLS]", "[SEP]"


def load_encoder(job: TrainingJob, settings: SftSettings) -> CrossEncoder:
    """The job's base as a cross-encoder of one score. Raises ConfigError where it does not load as an encoder."""
    from transformers import set_seed

    set_seed(job["seed"])  # of the head that a base without one gets
    if job["base"] != "scratch":
        return cross_encoder(job["base"], f"sft.targets: base of {job['name']}")
    with tempfile.TemporaryDirectory(prefix="distill-encoder-") as folder:
        shape = settings.scratch.model_copy(update={"seed": job["seed"]})
        make_scratch_encoder(_texts(job["examples"]), shape, folder)
        return cross_encoder(folder, job["name"])


def cross_encoder(path: str, key: str = "") -> CrossEncoder:
    """The cross-encoder of a folder or hub name, with one score and the identity as its activation.

    What a text writes of special tokens is text (`split_special_tokens`). Raises ConfigError, which begins with `key`,
    where it does not load.
    """
    import torch
    from sentence_transformers import CrossEncoder

    try:
        check_files(path)
        model: CrossEncoder = CrossEncoder(
            path, num_labels=1, activation_fn=torch.nn.Identity(), processor_kwargs={"split_special_tokens": True}
        )
        return model
    except (InputError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise ConfigError(f"{key}: {path} does not load as an encoder ({first_line(error)})") from None


def make_scratch_encoder(texts: Iterable[str], shape: ScratchSettings, folder: str) -> None:
    """Write a small BERT of random weights, and its tokenizer trained on `texts`, to `folder`; equal arguments give
    equal weights."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    tokenizer = encoder_tokenizer(texts, shape.vocab_size, shape.max_positions)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        intermediate_size=shape.ffn,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        max_position_embeddings=shape.max_positions,
        initializer_range=shape.init_std,
        pad_token_id=tokenizer.pad_token_id,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    config.num_labels = 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(shape.seed)
        BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def encoder_tokenizer(texts: Iterable[str], vocab_size: int, positions: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on `texts` that frames a pair as BERT's does, for a model of so many
    `positions`. Raises ValueError where `vocab_size` is too small."""
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    trained = train_tokenizer(texts, vocab_size - 2, tags=(), verdicts=())
    trained.add_special_tokens({"cls_token": CLS, "sep_token": SEP})
    ids: Any = [(CLS, trained.cls_token_id), (SEP, trained.sep_token_id)]
    trained.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{CLS} $A {SEP}", pair=f"{CLS} $A {SEP} $B:1 {SEP}:1", special_tokens=ids
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=trained.backend_tokenizer, cls_token=CLS, sep_token=SEP, pad_token=trained.pad_token,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"], model_max_length=positions,
        clean_up_tokenization_spaces=False,
    )  # fmt: skip


def _texts(examples: str) -> Iterator[str]:
    for pair in read_rows(examples, LabelledPair):
        yield f"{pair.query} {pair.instruction or ''} {pair.passage}"
