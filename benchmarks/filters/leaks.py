"""How many leaks and endings in another language are found: `python benchmarks/filters/leaks.py DATA [SENTENCES...]`.

Each sentence of the lists (`tests/filters/leaks.txt`, `tests/filters/endings.txt` and files of your own, a sentence a
line, the file's name beginning with `leaks` or `endings`) is put into each of three sound traces: a leak in the middle,
an ending at the end. The other figure is the share of published traces without a leak that the two filters reject:
TFRank's, GPT-4's and six models' on DIRAS, less TFRank's that cite a reference.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from folders import sifted
from quality import NAMES, Row, read, trace

from distill.records import make_pair

LISTS = Path(__file__).parents[2] / "tests" / "filters"
FILTERS = ["language", "leak"]


def planted(sentence: str, at_the_end: bool, number: int) -> list[Row]:
    """The sentence in three sound traces."""
    rows = []
    for sample, text in enumerate(SOUND):
        pair = make_pair(f"q{number}", f"d{sample}", f"how old is the bridge of town {number}", PASSAGE)
        parts = text.split(". ")
        middle = len(parts) // 2
        mixed = [*parts, sentence] if at_the_end else [*parts[:middle], sentence.rstrip("."), *parts[middle:]]
        rows.append((pair, trace(pair, sample, ". ".join(mixed), 1)))
    return rows


PASSAGE = "The bridge was built of stone in 1901 and was widened in 1956. It carries two lanes and a tram."
SOUND = (
    "Okay, let me see what the query wants. The passage says when the bridge was built. That is the age. So it answers",
    "The user asks for the age of a bridge. A year is given, 1901. The rest is about its width, which does no harm. "
    "A reader can work out the age from the year. Therefore the passage is relevant to the query",
    "First, the town. It is not named here, so it could be another bridge. But the year is stated plainly. "
    "There is no other date that would fit better. I would still say that it helps",
)


def main() -> None:
    """Both figures."""
    files = [LISTS / "leaks.txt", LISTS / "endings.txt", *map(Path, sys.argv[2:])]
    for file in files:
        sentences = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        rows = [planted(sentence, file.name.startswith("endings"), n) for n, sentence in enumerate(sentences)]
        kept = {t.pair_id for t in sifted([row for each in rows for row in each], FILTERS).kept}
        missed = [s for s, each in zip(sentences, rows, strict=True) if any(p.pair_id in kept for p, _ in each)]
        found = len(sentences) - len(missed)
        print(
            f"{file.name}: {found} of {len(sentences)} found in all three traces ({100 * found / len(sentences):.0f} %)"
        )
        print(*(f"  missed: {sentence}" for sentence in missed), sep="\n")
    _, by_name = read(Path(sys.argv[1]))
    clean = [
        (replace(p, label=None), t)
        for name in NAMES
        for p, t in by_name[name]
        if t.reasoning and t.verdict is not None and not (name == NAMES[0] and "referenc" in t.reasoning)
    ]
    rejected = sifted(clean, FILTERS).rejected
    print(f"clean traces rejected: {len(rejected)} of {len(clean)} ({100 * len(rejected) / len(clean):.2f} %)")
    print(*(f"  {row.filter}: {row.reason}" for row in rejected), sep="\n")


if __name__ == "__main__":
    main()
