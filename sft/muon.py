"""Muon for the layers' matrices, AdamW for embeddings, norms and biases, behind one optimizer's interface.

Muon (Jordan et al. 2024, torch.optim.Muon) orthogonalises each matrix's update. With its steps scaled to AdamW's root
mean square (Liu et al., arXiv 2502.16982) one learning rate serves both. For a small model from scratch it needs half
of AdamW's steps (docs/diary.md); for LoRA on a trained base nothing was measured, so it is no default.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class MuonAdamW(torch.optim.Optimizer):
    """Both optimizers' parameter groups, so that a scheduler reaches them all; state is kept and loaded for both."""

    def __init__(self, model: Any, lr: float, betas: tuple[float, float], eps: float, decay: float) -> None:
        tables = [module for module in model.modules() if isinstance(module, torch.nn.Embedding)]
        ends = [*tables, *filter(None, [model.get_output_embeddings()])]
        embeddings = {id(parameter) for end in ends for parameter in end.parameters()}
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        matrices = [p for p in trained if p.ndim == 2 and len(p) > 1 and id(p) not in embeddings]
        kept = set(map(id, matrices))
        others = [p for p in trained if id(p) not in kept]
        super().__init__([*matrices, *others], {"lr": lr})
        self._parts = (
            torch.optim.Muon(matrices, lr=lr, weight_decay=decay, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=lr, betas=betas, eps=eps, weight_decay=0.0),
        )
        self._gather()

    def _gather(self) -> None:
        self.param_groups = [group for part in self._parts for group in part.param_groups]

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of each."""
        loss = closure() if closure is not None else None
        for part in self._parts:
            part.step()  # type: ignore[no-untyped-call]
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The state of both."""
        return {"parts": [part.state_dict() for part in self._parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the state of both."""
        for part, state in zip(self._parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._gather()
