"""Synthetic pairs and traces of realistic shape for the filter benchmarks: `python benchmarks/filters/make.py DIR [N]`.

Traces have 270 tokens on average (about 1,150 characters, as Rank1's), log-normal; words are drawn by Zipf's law;
sentences quote the passage now and then; 6 % have one of the faults that filters look for. Seeded.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

from distill import store
from distill.records import Pair, Trace, make_pair

OPENINGS = ("", "However, ", "First, I see that ", "Also, ", "The text says that ", "But wait, ", "Then again ",
            "It is clear that ", "In other words, ", "Reading on, ", "Hmm, ", "The author adds that ",
            "As for the query, ",
            "Still, ")  # fmt: skip
MIDDLES = (
    "the {0} is described together with the {1}", "nothing is said about {0} or its {1}", "{0} {1} under some {2}",
    "a reader who looks for {0} learns of {1}", "the part on {0} names {1} and {2}", "{0} matters more than {1} here",
    "one would expect {0} beside the {1}", "this could refer to a {0} or to {1}", '"{4}" shows how {0} works',
    "the {0} has no {1}", "{1} depends on the {0} and on {2}", "we learn when {0} became {1}",
    "no number is given for {0}",
)  # fmt: skip
CLOSINGS = (".", ", which is what {3} means.", ", and so the {3} holds.", " in the {3}.", ", not of {3}.",
            " as in {3}.",
            ", close to the {3} that is wanted.", "; the {3} is another matter.")  # fmt: skip
ENDS = ("Therefore the passage is relevant to the query.", "So the passage does not answer the query.")
FAULTS = ("loop", "chinese", "leak", "cut", "empty", "wrong")


def words(rng: random.Random, size: int = 8000) -> list[str]:
    """A vocabulary of pronounceable words, the frequent ones short."""
    parts = [a + b for a in "bcdfglmnprstv" for b in ("a", "e", "i", "o", "u", "ar", "en", "ist")]
    return ["".join(rng.choices(parts, k=1 + min(3, i // 300 + rng.randrange(2)))) for i in range(size)]


def frame(rng: random.Random) -> str:
    """One of 1,456 forms of a sentence."""
    return rng.choice(OPENINGS) + rng.choice(MIDDLES) + rng.choice(CLOSINGS)


def rows(count: int, seed: int = 0) -> Iterator[tuple[Pair, Trace]]:
    """Pairs and their traces, not sorted yet."""
    rng = random.Random(seed)
    vocabulary = words(rng)
    weights = [1 / (rank + 10) for rank in range(len(vocabulary))]
    pool = rng.choices(vocabulary, weights, k=2_000_000)

    def take(n: int) -> list[str]:
        at = rng.randrange(len(pool) - n)
        return pool[at : at + n]

    for number in range(count):
        passage = " ".join(take(rng.randint(45, 90)))
        label = rng.random() < 0.4
        pair = make_pair(
            f"q{number // 5}", f"d{number}", " ".join(take(8)), passage, label=int(label), label_origin="judged"
        )
        sentences = []
        for _ in range(max(3, round(rng.lognormvariate(2.6, 0.45)))):
            cut = rng.randrange(max(1, len(passage) - 40))
            sentences.append(frame(rng).format(*take(4), passage[cut : cut + 30]))
        sentences.append(ENDS[0] if label else ENDS[1])
        fault = rng.choice(FAULTS) if rng.random() < 0.06 else ""
        verdict: int | None = int(label) if fault != "wrong" else 1 - int(label)
        if fault == "loop":
            sentences += [sentences[-2]] * 12
        elif fault == "chinese":
            sentences.insert(2, "这段文字没有回答问题。")
        elif fault == "leak":
            sentences.insert(2, "This agrees with the ground truth label.")
        text = "" if fault == "empty" else " ".join(sentences)
        if fault in ("cut", "empty"):
            verdict = None
        said = "" if verdict is None else "true" if verdict else "false"
        finish = "length" if fault == "cut" else "stop"
        yield (
            pair,
            Trace(pair.pair_id, 0, f"r{number}", text, said, verdict, finish, 220, len(text) // 4, 1e-4, 2.0, "{}"),
        )


def make(folder: Path, count: int) -> None:
    """Write `folder`/pairs and `folder`/traces, unless they are there."""
    if (folder / f"done-{count}").exists():
        return
    made = list(rows(count))
    store.write_rows(folder / "pairs", (pair for pair, _ in made), Pair)
    store.write_rows(folder / "traces", (trace for _, trace in made), Trace)
    (folder / f"done-{count}").touch()


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 500_000)
