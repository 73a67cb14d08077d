"""nDCG over arrays, where one ranking is measured under very many labels or orders; else ir_measures computes it.

Called for draws of unjudged grades (`distill.evaluation.unjudged_measures`), the windows of mode adaptive
(`distill.rerank.adaptive`) and the held-out pairs of a training (`sft.validation`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

CUTOFF = 10


def ndcg(grades: ArrayLike, judged: ArrayLike, cutoff: int = CUTOFF) -> NDArray[np.float64]:
    """nDCG@cutoff as trec_eval has it: gain = grade (0 below 0), discount log2(rank + 1); 0 where nothing is relevant.

    `grades` (..., ranks) in the ranking's order, 0 for what is not judged; `judged` (..., passages) all grades of the
    query, in any order. The leading axes are broadcast; the result has their shape.
    """
    import numpy as np

    top = np.maximum(np.asarray(grades, dtype=np.float64)[..., :cutoff], 0)
    best = np.maximum(np.sort(np.asarray(judged, dtype=np.float64), axis=-1)[..., ::-1][..., :cutoff], 0)
    discounts = 1 / np.log2(np.arange(2, cutoff + 2))
    gain, ideal = np.broadcast_arrays(top @ discounts[: top.shape[-1]], best @ discounts[: best.shape[-1]])
    return np.divide(gain, ideal, out=np.zeros(gain.shape), where=ideal > 0)
