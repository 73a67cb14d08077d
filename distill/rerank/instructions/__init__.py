"""Instructions for any query: which generic one helps (`sweep`), and how much their wording moves a student.

A generic instruction says nothing about a query; promptable retrievers gain from one or another of them all the same
(Promptriever, arXiv 2409.11136: one of ten, picked on a development set). A student that was trained without
instructions reads them as noise; the sweep shows that as a spread.
"""

from __future__ import annotations

# Ten of our own: from none of the query's words, of several styles.
GENERIC = (
    "A passage is relevant only if it meets every condition that is named.",
    "Read the whole passage before you decide; the deciding detail may stand at its end.",
    "A passage on the topic that leaves the question open is not relevant.",
    "Be strict: when in doubt, a passage is not relevant.",
    "Be generous: a passage that helps in part is relevant.",
    "Judge by what the passage states, not by what it suggests.",
    "The searcher will act on this passage at once, so it has to be exactly right.",
    "Mind negations: what the passage rules out counts against it.",
    "Pay attention to names, places and numbers; they must agree.",
    "Relevant means that somebody who asked this would be content with the passage alone.",
)
# One instruction in other words each time: a student that understands it ranks alike under all of them.
PARAPHRASES = (
    "A passage is relevant only if it meets every condition that is named.",
    "Only passages that satisfy all of the stated conditions are relevant.",
    "Each condition in the query has to be fulfilled, or the passage is not relevant.",
    "If a single named condition is not met, the passage does not count as relevant.",
    "Relevance requires that every requirement mentioned holds.",
)
