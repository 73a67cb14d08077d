"""A KV cache in which each row has a slot and a length of its own, so that rows come and go while others run.

The library's caches grow all rows alike: a row that joins late has to be padded to the longest, and a row that is done
goes on taking time. Here the rows that run are the first slots; a row that is done is replaced by the last one.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache


class _Layer(CacheLayerMixin):
    """Keys and values of one layer: (slots, heads, positions, head size)."""

    is_sliding = False

    def __init__(self, owner: SlotCache) -> None:
        super().__init__()
        self.owner = owner

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Storage comes with the first prefill, not with a step."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One token a row, written at the row's own length."""
        rows, at, end = self.owner.rows, self.owner.at, self.owner.end
        assert self.keys is not None and self.values is not None
        self.keys[rows, :, at] = key_states[:, :, 0]
        self.values[rows, :, at] = value_states[:, :, 0]
        count = len(rows)
        return self.keys[:count, :, :end], self.values[:count, :, :end]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """(length, offset) of the keys."""
        return self.owner.end, 0

    def get_seq_length(self) -> int:
        """The longest row."""
        return self.owner.end

    def get_max_length(self) -> int:
        """No bound of its own."""
        return -1


class SlotCache(Cache):
    """The cache of the rows that run. `lengths` says how many positions of each slot are filled.

    Before a step: `advance()` adds a position for one token a row and gives mask and positions. After one: `keep`.
    """

    def __init__(self, slots: int, step: int = 128) -> None:
        super().__init__(layers=[])
        self.slots, self.step_size = slots, step
        self.lengths: list[int] = []
        self.held: list[Any] = []  # the layers, by their own type
        self.rows = self.at = torch.zeros(0, dtype=torch.long)
        self.end = 0

    def advance(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """(mask (rows, 1, 1, positions), position ids (rows, 1)) of the step to come, whose token it counts in."""
        self.at = torch.tensor(self.lengths, device=device)
        self.rows = torch.arange(len(self.lengths), device=device)
        self.lengths = [length + 1 for length in self.lengths]
        self.end = max(self.lengths)
        self._hold(self.end)
        mask = torch.arange(self.end, device=device)[None, :] <= self.at[:, None]
        return mask[:, None, None, :], self.at[:, None]

    def join(self, prefilled: DynamicCache, row: int, length: int) -> None:
        """Take in row `row` of a prefilled batch that is padded on the right: its first `length` positions."""
        if not self.held:
            self.held = [_Layer(self) for _ in prefilled.layers]
            self.layers = list(self.held)
        self.lengths.append(length)
        self._hold(length, prefilled)
        slot = len(self.lengths) - 1
        theirs: Any
        for mine, theirs in zip(self.held, prefilled.layers, strict=True):
            mine.keys[slot, :, :length] = theirs.keys[row, :, :length]
            mine.values[slot, :, :length] = theirs.values[row, :, :length]

    def remove(self, slot: int) -> None:
        """Free a slot: the last row moves into it."""
        last = len(self.lengths) - 1
        if slot != last:
            length = self.lengths[last]
            for layer in self.held:
                layer.keys[slot, :, :length] = layer.keys[last, :, :length]
                layer.values[slot, :, :length] = layer.values[last, :, :length]
            self.lengths[slot] = length
        self.lengths.pop()

    def _hold(self, positions: int, like: DynamicCache | None = None) -> None:
        """Storage for so many positions, in steps, so that growing is rare."""
        for number, layer in enumerate(self.held):
            now = layer.keys.shape[2] if layer.keys is not None else 0
            if now >= positions:
                continue
            size = -(-positions // self.step_size) * self.step_size
            for name in ("keys", "values"):
                old = getattr(layer, name)
                pattern = old if old is not None else getattr(like.layers[number], name)  # type: ignore[union-attr]
                new = pattern.new_zeros(self.slots, pattern.shape[1], size, pattern.shape[3])
                if old is not None:
                    new[:, :, :now] = old
                setattr(layer, name, new)
            layer.is_initialized = True
