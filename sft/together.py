"""What the workers of one training do together. Used by train, its callbacks, `sft.node_folder` and `sft.ray_train`."""

from __future__ import annotations

COMPLETE = "complete"  # the file that is written last into a checkpoint


def barrier() -> None:
    """Wait until all workers of a training are here."""
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()


def of_all_workers(text: str) -> list[str]:
    """What each worker of a training says here, by rank; every worker has to call this."""
    import torch

    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [text]
    texts: list[str] = [""] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(texts, text)
    return texts


def is_first() -> bool:
    """Whether this is the only process, or the first of several workers."""
    import torch

    ranked = torch.distributed.is_available() and torch.distributed.is_initialized()
    return not ranked or torch.distributed.get_rank() == 0
