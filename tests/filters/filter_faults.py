"""Sound traces and the faults of real teachers, for measuring what the filters catch.

Written after the filters were finished, from descriptions and examples of how R1 and others fail; no filter was changed
to do better on these forms. `seeded(kind)` gives traces with that fault, each with a pair whose label fits the sound
verdict.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from distill.records import Pair, Trace, make_pair

TOPICS = [
    ("how long does sourdough starter last in the fridge",
     "A starter kept in a sealed jar survives about two weeks in a refrigerator without feeding, longer if it is "
     "stiff. Before baking it should be fed twice at room temperature. Hooch, the grey liquid, can be stirred in."),
    ("is aluminium recyclable indefinitely",
     "Aluminium cans are melted at 750 °C and rolled into new sheet. The metal loses none of its properties, so it can "
     "be recycled again and again; three quarters of all aluminium ever made is still in use."),
    ("visa requirements for vietnam 2023 germans",
     "Vietnamese street food has become popular in Berlin. Many restaurants serve pho and banh mi, and cookery courses "
     "are booked out months ahead. Prices have risen with the rent of the shops."),
    ("what causes the northern lights",
     "Charged particles from the sun follow the field lines of the earth to the poles and excite oxygen and nitrogen "
     "at heights of 100 to 300 km. Oxygen glows green and red, nitrogen blue and purple."),
    ("side effects of ibuprofen in dogs",
     "Ibuprofen is a common pain killer for adults and children above six months. The usual dose for adults is 200 to "
     "400 mg every six hours. It should be taken with food to protect the stomach."),
    ("python sort dictionary by value",
     "To order the items of a dict, call sorted(d.items(), key=lambda item: item[1]). Since 3.7 the dict that is built "
     "from the result keeps that order. Reverse order takes reverse=True."),
]  # fmt: skip
STEPS = [
    "Okay, let me look at what the query wants.", "The user asks: {q}.",
    "I need to find out whether the text speaks to that.",
    "The passage begins with a remark: {p}.", "That seems to bear on the question, at least in part.",
    "Is there anything about time, number or place that the query sets as a condition?",
    "Hmm, some of the details are beside the point, but they do no harm.",
    "A reader with this question would want a clear statement, ideally with a figure.",
    "Let me check the rest as well: {r}.", "Background such as this helps only if the main point is there.",
    "One could object that the wording differs, yet the meaning is what counts.",
    "I should not be misled by shared words alone.", "Going through it again, nothing contradicts this reading.",
    "Taken together, the picture is fairly clear by now.",
]  # fmt: skip
ENDS = {1: "So the passage is relevant to the query.", 0: "So the passage does not answer the query."}
RELEVANT = (1, 1, 0, 1, 0, 1)
_MORE = {
    "loop": [
        lambda t, r: t + " " + (t.split(". ")[-2] + ". ") * r.randint(9, 30),
        lambda t, r: t + " because the cost of the price of" * r.randint(25, 60),
        lambda t, r: t[: len(t) // 2] + " very" * r.randint(60, 200),
        lambda t, r: t + " " + r.choice("0=a-#") * r.randint(200, 2000),
        lambda t, r: "\n\n".join([t] * r.randint(3, 6)),
        lambda t, r: t + " Wait, no, it is relevant. Wait, it is not relevant." * r.randint(10, 40),
        lambda t, r: t + "".join(f" {i}. The text may be relevant to what is asked." for i in range(r.randint(15, 40))),
        lambda t, r: t + "\nLet me think again.\nThe passage is on topic." * r.randint(12, 40),
        lambda t, r: t + "但是这段文字没有回答" * r.randint(15, 50),
    ],
    "copy": [
        lambda t, r: None,  # the passage itself; see below
    ],
    "foreign": [
        lambda t, r: _into(t, r, "综上所述，这段文字与查询无关。"),
        lambda t, r: _into(t, r, "但是"),
        lambda t, r: _into(t, r, "However, the 查询 asks for something else."),
        lambda t, r: t + "\n\n因此，答案是相关的，因为文中提到了这一点。",
        lambda t, r: _into(t, r, "Итак, текст не отвечает на вопрос."),
        lambda t, r: _into(t, r, "この文章は質問に答えていません。"),
        lambda t, r: _into(t, r, "이 글은 질문과 관련이 있습니다."),
        lambda t, r: _into(t, r, "النص لا يجيب عن السؤال."),
        lambda t, r: _into(t, r, "यह पाठ प्रश्न का उत्तर नहीं देता।"),
        lambda t, r: _into(t, r, "That part is 相关."),
    ],
    "leak": [
        lambda t, r, s=s: _into(t, r, s) for s in (
            "The ground truth says that this one is relevant.", "According to the dataset, this pair is a negative.",
            "This matches the gold label.", "The label is positive, so I should argue for relevance.",
            "Since the given label is 1, the answer must be true.", "The annotators marked this passage as relevant.",
            "It is labeled as not relevant, which fits.", "The correct label here would be false.",
            "This agrees with the reference answer.", "The expected answer is true, so let me justify it.",
            "As an AI language model, I cannot browse the web.", "As an AI, I have no opinion on this.",
            "My training data does not include this.", "In the annotation it was judged relevant.",
            "The dataset marks this as a hard negative.", "I was told that the answer is true.",
            "From the label we know that it is relevant.", "The reference judgment confirms it.",
            "I'm a language model trained by OpenAI.", "By the human annotators this was seen as a match.",
        )
    ],
}  # fmt: skip


def _into(text: str, rng: random.Random, sentence: str) -> str:
    sentences = text.split(". ")
    at = rng.randrange(1, len(sentences))
    return ". ".join([*sentences[:at], sentence.rstrip("."), *sentences[at:]])


def sound(count: int, seed: int = 0) -> Iterator[tuple[Pair, Trace]]:
    """Traces without a fault: six topics, six to fourteen steps in random order, and the conclusion that fits."""
    rng = random.Random(seed)
    for number in range(count):
        which = rng.randrange(len(TOPICS))
        query, passage = TOPICS[which]
        verdict = RELEVANT[which]
        pair = make_pair(
            f"q{which}", f"d{number}", query, f"{passage} ({number})", label=verdict, label_origin="judged"
        )
        pieces = passage.split(". ")
        steps = rng.sample(STEPS, rng.randint(6, len(STEPS)))
        text = " ".join(s.format(q=query, p=pieces[0], r=rng.choice(pieces[1:])) for s in steps) + " " + ENDS[verdict]
        said = "true" if verdict else "false"
        yield (
            pair,
            Trace(pair.pair_id, 0, f"r{number}", text, said, verdict, "stop", 90, len(text) // 4, 0.0, 0.1, "{}"),
        )


def seeded(kind: str, count: int = 300, seed: int = 1) -> Iterator[tuple[Pair, Trace]]:
    """Traces with one fault of `kind`: loop, copy, foreign, leak, wrong, truncated, empty, opposed."""
    rng = random.Random(f"{kind}{seed}")
    for pair, trace in sound(count, seed):
        text = trace.reasoning
        if kind == "wrong":
            yield pair, replace(trace, verdict=1 - (trace.verdict or 0), content="false" if trace.verdict else "true")
        elif kind == "truncated":
            cut = text[: rng.randrange(1, len(text))]
            finish = rng.choice(["length", "length", "stop", "content_filter"])
            yield pair, replace(trace, reasoning=cut, content="", verdict=None, finish_reason=finish)
        elif kind == "empty":
            yield pair, replace(trace, reasoning=rng.choice(["", " ", "\n\n", "Okay.", "..."]))
        elif kind == "opposed":
            yield pair, replace(trace, reasoning=text.replace(ENDS[trace.verdict or 0], ENDS[1 - (trace.verdict or 0)]))
        elif kind == "copy":
            head = rng.choice(["", "The passage says: ", "Here is the text. "])
            yield pair, replace(trace, reasoning=head + pair.passage + rng.choice(["", " So it is relevant.", "\n"]))
        else:
            yield pair, replace(trace, reasoning=rng.choice(_MORE[kind])(text, rng))
