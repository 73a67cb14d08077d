"""A student of `base: scratch`: a byte-level BPE tokenizer trained on the data, and a small Qwen2.

For the quickstart and for tests, where no model hub is at hand. Both are ordinary transformers objects: saved,
loaded, trained and served like any Qwen2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, model_validator

from distill.errors import ConfigError
from distill.prompts import END_THINK, FALSE, THINK, TRUE, word_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

END_OF_TEXT = "<|endoftext|>"

# Qwen2's pre-tokenisation: contractions, words with their leading space, digits one by one, punctuation, newlines.
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class ScratchSettings(BaseModel):
    """The shape of a model with random weights; the defaults make about half a million parameters."""

    model_config = ConfigDict(extra="forbid")

    vocab_size: int = Field(1024, ge=300, description="of the tokenizer, added tokens included")
    layers: int = Field(2, ge=1, description="number of layers")
    width: int = Field(128, ge=32, description="of the hidden states")
    heads: int = Field(4, ge=1, description="width / heads must be 32: vLLM on a CPU refuses 16")
    kv_heads: int = Field(4, ge=1, description="heads of keys and values; must divide heads")
    ffn: int = Field(256, ge=32, description="the inner width of the feed-forward layers")
    max_positions: int = Field(1024, ge=64, description="most tokens of a prompt and its completion")
    rope_theta: float = Field(
        1000.0, description="lower than usual, since texts are short; its effect was not measured alone"
    )
    init_std: float = Field(
        0.06, gt=0, description="training loss at step 800: 0.10 with 0.06, 0.24 with the usual 0.02"
    )
    seed: int = Field(0, description="of the random weights")

    @model_validator(mode="after")
    def _heads_fit(self) -> ScratchSettings:
        if self.width != 32 * self.heads:
            raise ValueError(f"width {self.width} with heads {self.heads}: the width must be 32 times the heads")
        if self.heads % self.kv_heads:
            raise ValueError(f"heads {self.heads} with kv_heads {self.kv_heads}: heads must be a multiple of kv_heads")
        return self


def train_tokenizer(
    texts: Iterable[str],
    vocab_size: int = 1024,
    tags: Sequence[str] = (THINK, END_THINK),
    verdicts: Sequence[str] = (FALSE, TRUE),
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on `texts`, with `tags` as ordinary added tokens.

    Every text can be encoded, since all bytes are in the vocabulary. The `verdicts` become
    single tokens where `vocab_size` leaves room for them; else raises ValueError.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    added = 1 + len(tags)
    smallest = 256 + 32 + added
    if vocab_size < smallest:
        raise ValueError(f"vocab_size is {vocab_size}; the bytes, the verdicts and the tags need {smallest}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - added,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_with_verdicts(texts, verdicts), trainer)
    tokenizer.add_special_tokens([AddedToken(END_OF_TEXT, special=True, normalized=False)])
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in tags])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END_OF_TEXT, pad_token=END_OF_TEXT, clean_up_tokenization_spaces=False
    )
    if END_THINK in tags:  # else whoever adds them checks (`distill.prompts.verdict_ids`)
        try:
            word_ids(fast, verdicts)
        except ValueError as error:
            raise ConfigError(f"sft.scratch.vocab_size {vocab_size} is too small for these texts ({error})") from None
    return fast


def _with_verdicts(texts: Iterable[str], verdicts: Sequence[str]) -> Iterable[str]:
    """The texts, and the verdicts often enough that their merges are learnt first."""
    count = 0
    for text in texts:
        yield text
        count += 1
    for _ in range(max(count, 100)):
        yield "".join(reversed(verdicts))


def new_model(tokenizer: PreTrainedTokenizerFast, settings: ScratchSettings | None = None) -> Qwen2ForCausalLM:
    """A Qwen2 in fp32 with random weights and tied embeddings; equal settings give equal weights."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    settings = settings or ScratchSettings()
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=settings.width,
        intermediate_size=settings.ffn,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.kv_heads,
        max_position_embeddings=settings.max_positions,
        rope_parameters={"rope_type": "default", "rope_theta": settings.rope_theta},
        initializer_range=settings.init_std,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype=torch.float32,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = Qwen2ForCausalLM(config)
        model.float()
        return model
