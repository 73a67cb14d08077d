"""What one sentence of an answer says about relevance, by its words and their negations. For `distill.verdicts`.

A sentence counts when a passage is its subject and the query its object ("the passage is not relevant to the query",
"it does not answer the question"). What is hedged, conditional, about a part of the passage, or in a relative clause
says nothing. A negation is applied where it is next to its word or of a listed kind; any other is left unread, so that
a verdict is missed and never turned round. English.
"""

# ruff: noqa: SIM905  lists of words are read as words
from __future__ import annotations

import re
from typing import Final

UNCLEAR: Final = -1  # something is said, and it is neither yes nor no: a hedge, both, or two negations

_DETERMINER = (
    r"(?:(?:the|this|that|your|my|our|its|a|an|any|given|user|users|user's|search|stated|original|specific|provided|"
    r"current|requested|input|asked|above|main|actual|particular|central|core|information|query's|topic of|subject of|"
    r"intent of|content of|terms of) ){0,6}"
)
_QUERY = rf"{_DETERMINER}(?:query|question|request|search|topic|inquiry|enquiry|claim|prompt|need|subject)\b"
_RELEVANT = re.compile(
    r"\b(?:(?P<negative>irrelevant|non-?relevant|non relevant|unrelated|unhelpful|off-topic|off topic)"
    r"|(?P<positive>relevant|pertinent|related|helpful|useful))\b"
)
_TO_QUERY = re.compile(
    rf" (?:to|for|with|in) (?:directly |help )?(?:answer(?:ing)? |address(?:ing)? )?{_QUERY}"
    rf"|(?: (?:piece|source) of information| information)? to (?:answer|address) {_QUERY}"
)
_END_OF_CLAUSE = re.compile(
    r" (?:passage|document|paragraph|text|article|result|match|hit)\b"
    r"|\s*(?:$|[.,;:!)(—–]|-\s)| (?:because|since|as|due|given|at all|here|in this|but|and|or|nor|either|to it)\b"
)
_ANSWERS = re.compile(
    r"(?<!as it )\b(?P<verb>answers?|address(?:es)?|satisf(?:y|ies)|responds? to|match(?:es)?|meets?"
    r"|pertains? to|relates? to"
    r"|helps? (?:to )?answer|(?:provides?|gives?|contains?|offers?|is|has|have) (?:(?:a|an|any|the|no|direct|clear|full"
    rf"|complete|relevant|exact) ){{0,3}}answers? to) {_QUERY}(?! (?:of|that|about|regarding|whether))(?!'s)"
)
_RELEVANCE = re.compile(rf"\b(?:has|have|bears?|of|is of) (?P<no>no |little )?(?:direct )?relevance to {_QUERY}")
_PERSON = r"(?:someone|somebody|anyone|anybody|people|users?|a (?:user|person|searcher)|the (?:user|searcher)|those)"
_HELPS = re.compile(
    rf"\bhelps? {_PERSON} (?:(?:who|that) )?(?:(?:is|are|was|were|has|have|had) )?"
    rf"(?:search(?:es|ed|ing)?|ask(?:s|ed|ing)?|look(?:s|ed|ing)?)(?: for)? {_QUERY}"
    r"|(?<=\bdoes not )help(?=\s*(?:[.!;]|$))"
)
_GOOD_RESULT = re.compile(
    r"\b(?:(?P<good>good|great|excellent|suitable|valid)|bad|poor) (?:search )?(?:result|match|hit) for\b"
)
_DEGREE = re.compile(
    r"\brelevance (?:of|to) [^.;:]{1,80} is (?:very )?(?:(?P<high>high|strong)|low|poor)(?=\s*(?:[.!;]|$))"
)
_REPORTED = re.compile(
    r"\b(?:says?|said|saying|claim(?:s|ed|ing)?|suggest(?:s|ed|ion)?|statement|(?:dis)?agree(?:s|ing)?)\b"
)
_CLAUSE = re.compile(
    r"[;:—–]|\b(?:but|however|because|since|although|though|while|whereas|yet|so|thus|therefore|hence|which|who|whose|"
    r"as (?=it|the|this))\b,?"
)
_ASIDE = re.compile(r"although|though|while|whereas|which|who")
_CONDITION = re.compile(r"\b(?:if|whether|unless|when|assuming|suppose|supposing|had|why|how)\b")
_RETRACTED = re.compile(
    r"\b(?:but|however|yet|although|though|except)\b.{0,60}?\bnot (?:\w+ly )?"
    r"(?:answer|address|relevant|related|to the|for the|enough|sufficient|satisf|match|meet|what)"
)
_SUBJECT = frozenset(
    (
        "passage passages document documents paragraph text article snippet content abstract excerpt extract "
        "information it this page source result response"
    ).split()
)
_VERB = frozenset(
    (
        "is are was were be being seems seem appears appear remains looks considered consider deemed deem "
        "judged judge classified classify marked mark labeled labelled label rated find found makes make "
        "making renders rendering call contains contain provides provide includes include offers offer has "
        "have regarded regard treated assessed"
    ).split()
)
_HOLDS = frozenset(("contains contain provides provide includes include offers offer has have").split())
_HEDGE = frozenset(
    (
        "may might could can partially partly somewhat slightly marginally tangentially loosely vaguely "
        "indirectly remotely moderately potentially possibly perhaps maybe unclear unsure uncertain "
        "questionable debatable must more less most least only merely part parts half some portion portions "
        "aspect aspects section sentence sentences claim claims determine determining ask asks asked asking "
        "first initially seemingly superficially previously another limited mildly peripherally semi quasi "
        "sort kind minimally borderline arguably supposedly allegedly"
    ).split()
)
_WEAKENS = frozenset(
    (
        "entirely fully completely wholly totally necessarily exactly strictly quite just solely exclusively "
        "altogether explicitly adequately always 100 perfectly only merely simply"
    ).split()
)
_NEGATION = frozenset(
    (
        "not no never none nothing neither nor without hardly barely scarcely rarely fails fail failed lacks "
        "lack lacking false untrue wrong incorrect doubt doubtful doubts unlikely far rather anything deny "
        "denies disagree impossible few little nowhere insufficient insufficiently hard difficult unable less "
        "non mistaken cease ceases avoid avoids refuse myth absence incorrectly falsely wrongly"
    ).split()
)
_BETWEEN = frozenset(
    (
        "a an the at all in any way be to directly really very particularly actually clearly highly truly "
        "even specifically considered deemed judged classified marked labeled labelled as rated seem appear "
        "find found regarded especially necessary either both related relevant nor or helpful useful "
        "immediately closely overly too being indeed sufficiently obviously contextually topically remotely "
        "thematically answer query question your this that me treated"
    ).split()
)
_FAR_NEGATION = re.compile(
    r"\b(?:do|does|did|would) not (?:think|believe|consider|find|feel|deem|judge|say|see)\b"
    r"|\b(?:no (?:part|information|content)|nothing|none)\b"
    r"|\b(?:do|does|did) not (?:seem|appear) to\b"
    r"|\b(?:do|does|did) not (?:contain|provide|include|offer|have|give|present)\b"
    r"|\b(?:contains|provides|includes|offers|has|gives|presents) no\b"
)
_WORD = re.compile(r"[\w']+(?:-\w+)*")
# Without one of these words the patterns above match nothing, and looking for them is faster.
_NAMES_RELEVANCE = ("relevant", "related", "pertinent", "helpful", "useful", "off-topic", "off topic")
_NAMES_QUERY = tuple("question query request search topic inquiry enquiry claim prompt need subject".split())
_NAMES_ANSWER = tuple("answer address satisf respond match meet pertain relate".split())
_NAMES_RESULT = ("result", "match", "hit")


def stated(sentence: str) -> int | None:
    """1 or 0 where the sentence states plainly that the passage is or is not relevant, UNCLEAR for both, else None.

    `sentence` is lower case, without markup, with "not" for "n't", as `distill.verdicts` prepares it.
    """
    verdicts: set[int] = set()
    for hit in _RELEVANT.finditer(sentence) if _holds(sentence, _NAMES_RELEVANCE) else ():
        about_query = _TO_QUERY.match(sentence, hit.end())
        own_word = hit["negative"] or hit["positive"] in ("relevant", "pertinent")
        if about_query or (own_word and _END_OF_CLAUSE.match(sentence, hit.end())):
            verdicts.add(_read(sentence, hit, positive=hit["negative"] is None, finite=False))
    names_query = _holds(sentence, _NAMES_QUERY)
    for hit in _ANSWERS.finditer(sentence) if names_query and _holds(sentence, _NAMES_ANSWER) else ():
        verdicts.add(_read(sentence, hit, positive=" no answer" not in hit["verb"], finite=True))
    for hit in _RELEVANCE.finditer(sentence) if names_query and "relevance" in sentence else ():
        if hit["no"] != "little ":
            verdicts.add(_read(sentence, hit, positive=hit["no"] is None, finite=True))
    for hit in _HELPS.finditer(sentence) if "help" in sentence else ():
        verdicts.add(_read(sentence, hit, positive=True, finite=True))
    for hit in _GOOD_RESULT.finditer(sentence) if _holds(sentence, _NAMES_RESULT) else ():
        if not _REPORTED.search(sentence, 0, hit.start()):
            verdicts.add(_read(sentence, hit, positive=hit["good"] is not None, finite=False))
    for hit in _DEGREE.finditer(sentence) if "relevance " in sentence else ():
        if not (
            _REPORTED.search(sentence) or _CONDITION.search(sentence) or _NEGATION.intersection(_WORD.findall(sentence))
        ):
            verdicts.add(int(hit["high"] is not None))
    verdicts.discard(_NOTHING)
    return None if not verdicts else verdicts.pop() if len(verdicts) == 1 else UNCLEAR


_NOTHING = -2


def _holds(sentence: str, words: tuple[str, ...]) -> bool:
    for word in words:  # noqa: SIM110 (any() takes twice as long)
        if word in sentence:
            return True
    return False


def _read(sentence: str, hit: re.Match[str], positive: bool, finite: bool) -> int:
    """What the clause before the hit makes of it: 1, 0, UNCLEAR or _NOTHING. `finite`: the hit has the verb itself."""
    before = sentence[: hit.start()]
    if _CONDITION.search(before) or sentence.rstrip().endswith("?"):
        return _NOTHING
    *_, boundary = [None, *_CLAUSE.finditer(before)]
    if boundary is not None and _ASIDE.match(boundary.group()):
        comma = before.find(",", boundary.end())  # "although it is short, the passage is relevant"
        if comma < 0 or (boundary.group().startswith("wh") and boundary.group() != "while"):
            return _NOTHING
        clause = before[comma:]
    else:
        clause = before[boundary.end() if boundary else 0 :]
    words = _WORD.findall(clause)
    if not _SUBJECT.intersection(words) and not (words and words[0] in ("making", "rendering")):
        return _NOTHING
    verbs = _VERB.intersection(words)
    if not finite and (not verbs or (verbs <= _HOLDS and hit.group() not in ("relevant", "pertinent"))):
        return _NOTHING
    negations = [place for place, word in enumerate(words) if word in _NEGATION]
    if not negations and words[-2:] == ["to", "be"] and words[-3:-2] and words[-3] not in _VERB:
        return _NOTHING  # "for the passage to be relevant"
    if len(negations) > 1 or (negations and not positive):
        return UNCLEAR
    if not negations:
        if _HEDGE.intersection(words) or (finite and "to" in words[-1:]):
            return _NOTHING
        if finite and positive and not hit.group().split()[0].endswith("s") and "does" not in words[-3:]:
            return _NOTHING
        return UNCLEAR if positive and _RETRACTED.search(sentence, hit.end()) else int(positive)
    between = words[negations[0] + 1 :]
    if _WEAKENS.intersection(between) or (finite and {"directly", "specifically"}.intersection(between)):
        return _NOTHING
    word = words[negations[0]]
    negates = word in ("not", "never", "neither") or (finite and word in ("fails", "fail", "failed"))
    if negates and _BETWEEN.issuperset(between):
        return 0
    return 0 if _FAR_NEGATION.search(clause) and not (_HEDGE - {"some", "part"}).intersection(words) else _NOTHING
