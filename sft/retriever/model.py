"""The model of a retriever: a base with its pooling and prompts, and an adapter that is merged once it is trained.

Called by `sft.retriever.train`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from distill.errors import ConfigError, first_line
from distill.weights import check_files, check_finite

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from sft.student_settings import LoraSettings, RetrieverSettings

PROMPTS = {"query": "query: ", "document": "passage: "}  # of decoders, as RepLLaMA and Promptriever have them
LONGEST = 512  # tokens of a text where the base does not say


def load_retriever(base: str, settings: RetrieverSettings, key: str = "sft.targets: base") -> SentenceTransformer:
    """The base as a bi-encoder: a folder or hub name of sentence-transformers as it is, another with a pooling.

    An encoder is pooled by the mean, a decoder by its last token, which is the end of text, behind the prompts
    `query: ` and `passage: `. Raises ConfigError, which begins with `key`, where it does not load, InputError where
    its weights are broken.
    """
    from sentence_transformers import SentenceTransformer

    check_files(base)
    try:
        if _is_sentence_transformer(base):
            model = SentenceTransformer(base)
            if settings.pooling is not None and (pooling := _pooling(model)) is not None:
                pooling.pooling_mode = settings.pooling
        else:
            model = _with_pooling(base, settings.pooling)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{key}: {base} does not load as a retriever ({first_line(error)})") from None
    if model.transformers_model is None:
        raise ConfigError(f"{key}: {base} has no transformer to train; name an encoder or a decoder")
    check_finite(base, model.transformers_model)
    if settings.max_length is not None:
        model.max_seq_length = min(settings.max_length, model.max_seq_length or settings.max_length)
    return model


def _with_pooling(base: str, pooling: str | None) -> SentenceTransformer:
    """A base of transformers with a pooling of its last layer, and vectors of length 1."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    transformer = Transformer(base)
    decoder = is_decoder(transformer.config)
    mode = pooling or ("lasttoken" if decoder else "mean")
    if mode == "lasttoken":
        end_with_eos(transformer.tokenizer)
    modules = [transformer, Pooling(transformer.get_embedding_dimension(), pooling_mode=mode), Normalize()]
    model = SentenceTransformer(modules=modules, prompts=PROMPTS if decoder else None)
    model.max_seq_length = min(model.max_seq_length or LONGEST, LONGEST)
    return model


def is_decoder(config: PretrainedConfig) -> bool:
    """Whether a base is a causal language model."""
    return any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in config.architectures or ())


def end_with_eos(tokenizer: PreTrainedTokenizerBase) -> None:
    """Let the tokenizer put the end of text behind every text, where it does not, so that the last token is that."""
    from tokenizers.processors import TemplateProcessing

    known = tokenizer("a").input_ids
    if known and known[-1] == tokenizer.eos_token_id:
        return
    if tokenizer.eos_token is None:
        raise ConfigError("sft.targets: the base's tokenizer has no end of text, which pooling by the last token reads")
    start = f"{tokenizer.bos_token} " if tokenizer.bos_token and known[0] == tokenizer.bos_token_id else ""
    names = [name for name in (tokenizer.bos_token if start else None, tokenizer.eos_token) if name]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{start}$A {tokenizer.eos_token}",
        special_tokens=[(name, tokenizer.convert_tokens_to_ids(name)) for name in dict.fromkeys(names)],
    )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token


def add_lora(model: SentenceTransformer, settings: LoraSettings) -> None:
    """Put an adapter into the model's transformer; only it is trained."""
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=settings.target_modules,
        use_dora=settings.dora,
    )
    inject_adapter_in_model(config, _transformer(model))


def load_weights(model: SentenceTransformer, checkpoint: Path) -> None:
    """Read a checkpoint's weights, those of an adapter too, into a model of the same layers."""
    from safetensors.torch import load_file

    weights: dict[str, Tensor] = {}
    for file in sorted(checkpoint.glob("model*.safetensors")):
        weights |= load_file(str(file))
    _transformer(model).load_state_dict(weights)


def merge_lora(model: SentenceTransformer) -> None:
    """Merge the adapter into the weights, so that the folder loads without peft."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    transformer = _transformer(model)
    for name, layer in list(transformer.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            layer.merge()
            parent, _, child = name.rpartition(".")
            setattr(transformer.get_submodule(parent), child, layer.get_base_layer())
    if hasattr(transformer, "peft_config"):
        del transformer.peft_config


def _transformer(model: SentenceTransformer) -> PreTrainedModel:
    transformer = model.transformers_model
    assert transformer is not None
    return transformer


def _is_sentence_transformer(base: str) -> bool:
    from sentence_transformers.util import is_sentence_transformer_model

    return (Path(base) / "modules.json").is_file() if Path(base).is_dir() else is_sentence_transformer_model(base)


def _pooling(model: SentenceTransformer) -> Pooling | None:
    from sentence_transformers.sentence_transformer.modules import Pooling

    return next((module for module in model if isinstance(module, Pooling)), None)
