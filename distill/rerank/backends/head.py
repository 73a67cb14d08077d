"""A head that reads one position of each row, the verdicts in float32. Used by the transformers backend."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional


class VerdictHead(torch.nn.Module):
    """Takes the place of a head for one forward pass; what the model does after it (soft cap, scale) still holds.

    `last` is the position to read in each row; `verdicts` are the columns that are computed in float32, none where no
    verdict is read. In bfloat16 a logit of 20 is rounded to a multiple of 0.125, and so would be the margins.
    """

    def __init__(self, head: torch.nn.Module, last: torch.Tensor, verdicts: Sequence[int]) -> None:
        super().__init__()
        self.head, self.last, self.verdicts = head, last, list(verdicts)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits (rows, 1, vocabulary) of the hidden states (rows, positions, width)."""
        hidden = hidden[torch.arange(len(hidden), device=hidden.device), self.last][:, None]
        logits: torch.Tensor = self.head(hidden)
        if not self.verdicts:
            return logits
        logits = logits.float()
        if isinstance(self.head, torch.nn.Linear):
            bias = None if self.head.bias is None else self.head.bias[self.verdicts].float()
            rows = self.head.weight[self.verdicts].float()
            logits[..., self.verdicts] = functional.linear(hidden.float(), rows, bias)
        return logits
