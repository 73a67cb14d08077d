"""The words and sentences that the filter `leak` looks for; filters/leak.py compiles them.

Patterns of lower-case text, without look-around where a whole column is searched, so that Arrow's RE2 can run them.
"""

from __future__ import annotations

import re

_JUDGEMENT = "(?:labels?|annotations?|judge?ments?|verdicts?|ratings?|grades?|assessments?|classifications?|decisions?)"
_SOURCE = (
    "(?:dataset|annotations?|annotators?|qrels?|labels?|gold(?:en)?|answer key|metadata|assessors?|raters?|labell?ers?"
    "|reference|ground[ -]truth|answer sheet|relevance judge?ments?|benchmark)"
)
_RELEVANT = "(?:not |non-?|ir|highly |partially )?(?:relevant|true|false|positive|negative|a match|a hit)"
_SAYS = (
    "(?:say|state|mark|label|claim|indicate|consider|judge|give|list|call|rate|tell|confirm|show|treat|count"
    "|regard|deem|record|specifie|specify|want|expect|require|classifie|classify|ha[sd]|read)"
)
_WHAT = (
    "(?:answer|label|output|outcome|verdict|conclusion|result|rating|score|solution|judge?ment|assessment|annotation"
    "|classification|decision|determination|grade|response|hint|key|mark|relevance)s?"
)
_GIVEN = (
    "(?:given|provided|supplied|assigned|attached|target|gold(?:en)?|desired|official|pre-?determined|preset"
    "|prescribed|designated|known|stored|human|intended|required|expected|specified|recorded|accompanying|stipulated"
    "|mandated|wanted|pre-?assigned|predefined|stated)"
)
_VALUE = (  # of a judgement; not "a positive test"
    r"[\"'“‘(]?(?:an? )?(?:clearly |highly |clear )?(?:not (?:a )?|non[- ]?|ir)?(?:(?:relevant|true|false|affirmative"
    rf"|match)\b|(?:positive|negative)(?: (?:{_WHAT}|example|pair|instance|sample|one|match|case|for|here|because|so"
    r"|and|but|since|as|which)\b|[\"'”’,;:)]|$)|(?:yes|no|hit|miss|rejection|[0-3])(?:[\"'”’,.;:)]|$))"
)
_HOLDS = (  # what an author says who must reach a given end: a value, or why this one is as it is
    rf"(?:{_VALUE}|why (?:this|it|that|the (?:passage|document|text|pair|answer|match|two)|one)\b"
    r"|(?:this|it|the (?:passage|document|text)) (?:does|fails|fits|qualifies|works|answers|matches|satisfies)\b)"
)
_IS = "(?:is|was|being|says?|states?|reads?|(?:should|must|has to|needs to|to|can only) be|of|as|equals)"
_SHOULD = "(?:has to|have to|must|should|needs? to|is to|ought to|is supposed to|is meant to|is expected to)"
_I_WAS = "(?:i|we)(?: was| were| am|['’]m| are|['’]re|['’]ve been| have been| had been)"
_BEFORE = "(?:in advance|beforehand|up ?front|ahead of time|from the (?:very )?(?:start|outset|beginning)|already)"
_PERHAPS = "(?:(?:must|may|might|has|have|had|did|already|clearly|evidently|probably|apparently|also|not) ){0,3}"
_THINKS = (
    "(?:rated|judged|marked|rejected|accepted|found|considered|deemed|decided|gave|given|wanted|labell?ed|thought|saw"
    "|seen|scored|treated|regarded|felt|chose|concluded|agreed|disagreed|dismissed|approved|assigned|ruled|want|liked"
    "|missed|overlooked|noticed|valued|looked|preferred|counted|called|meant|took|turned|think|were)"
)
_ASSESSOR = (
    "(?:annotator|rater|labell?er|assessor|grader|adjudicator|human (?:judge|reviewer|evaluator|expert|reader))s?"
)
_THIS = (
    "(?:it|this|that|the (?:passage|pair|document|text|example|item)|this (?:passage|pair|document|text|one|example))"
)
_HIDE = "(?:mention|reveal|refer|admit|disclos|let|giv|cit|acknowledg|hint|betray|say|stat|expos|show|quot|talk|allud)"
_TO_REACH = (
    "(?:justify|explain|defend|argue|arrive|end|conclude|show|say|reach|support|make|land|come|steer|lead|give"
    "|produce|write|reason|rationali[sz]e|accept|reject|back|call|mark|label|deem|treat|approve|find|turn)"
)
_TO_DEFEND = (
    "(?:justify|defend|rationali[sz]e|argue|arrive at|end (?:up|on)|land on|steer|work towards?|make (?:the|a) case"
    "|find (?:an? |some )?(?:reasons?|grounds?|arguments?|line)|build a case|support|back up|explain|come out|produce"
    "|write|construct|come up with)"
)
LABEL = (
    # what the judgement is written in
    "ground[ -]truth", "gold(?:en)?[ -](?:label|answer|judge?ment|annotation|verdict|rating|key|reference)s?",
    r"(?:answer|solution|marking) (?:key|sheet|scheme)s?\b", r"\bqrels?\b", r"\bhard negative\b",
    "reference (?:answer|assessment|judge?ment|label|verdict|evaluation|determination|rating|classification)s?",
    "(?:given|provided) reference (?:score|standard|relevance)", r"\bthe hint\b",
    r"(?:labell?ed|annotated|gold|mined) (?:positive|negative)s?\b",
    # a judgement that was there before
    r"\b(?:the|this|its|that|each|a|an|my|our) (?:given|provided|supplied|assigned|attached|known|official|true|actual"
    rf"|human|expected|intended|target|desired|reference|pre-?assigned|predetermined|preset|stored|annotated) "
    rf"(?:relevance )?{_JUDGEMENT}\b",
    r"\b(?:the|this|its|given|correct|provided|assigned|true|expected|reference|human|actual) (?:relevance )?label\b",
    rf"\b(?:the|this|that) (?:relevance )?{_JUDGEMENT} (?:that (?:was|is|were|i was|i am|we were) |i was |we were )?"
    r"(?:provided|supplied|given|attached|assigned|shown|on file|on record|says?|states?|reads?)\b",
    r"\b(?:answer|verdict|judge?ment)(?: here)? (?:is|was|has been) (?:already )?(?:given|known|provided|supplied"
    r"|supposed|meant|told|predetermined|preset) (?:as|to be|in advance|beforehand|to me)\b",
    r"\bfor this (?:example|pair|instance|item|sample|entry|row),? (?:the |its )?(?:label|annotation|judge?ment|verdict"
    r"|answer|relevance) (?:is|was|says)\b",
    # somebody judged
    r"\b(?:is|was|been|are|were|being)(?: already| indeed| clearly)? (?:labell?ed|annotated) (?:as|by|with)\b",
    rf"\b(?:is|was|been|are|were|being)(?: already| indeed)? (?:labell?ed|annotated|marked|tagged|flagged|recorded"
    rf"|listed) (?:as |to be )?(?:being )?(?:a |an )?{_RELEVANT}\b",
    rf"\b(?:was|has been|have been|had been|were) (?:judged|rated|graded|assessed|scored|deemed|classified|determined"
    rf"|confirmed) (?:as |to be )?{_RELEVANT}\b",
    r"\balready (?:been )?(?:judged|deemed|determined|decided|established|confirmed|known) "
    rf"(?:as |to be )?{_RELEVANT}\b",
    r"\bknown to be (?:not |ir|non-?)?relevant\b", r"\bas (?:annotated|labell?ed)\b",
    r"\b(?:the|by|human|by human) (?:human )?(?:annotators?|raters?|labell?ers?)\b",
    r"\bhuman (?:judges?|assessors?)\b",
    r"\bby (?:the |expert |trec |nist )?assessors\b",
    r"\b(?:they|someone|somebody|experts?|humans?|a human|an expert) (?:have |has |had )?(?:already )?(?:marked"
    r"|labell?ed|judged|annotated|rated|tagged) (?:it|this|the|that)\b",
    # a source says it, or is agreed with
    rf"\b(?:according to|as per|in|from|per|by|based on|following|given) the {_SOURCE}\b",
    rf"\bthe {_SOURCE} (?:already |here |also |clearly |for this \w+ )?{_SAYS}(?:s|es|ed|d)?\b",
    r"\b(?:consisten(?:t|cy)|in line|in agreement|in accord(?:ance)?|agrees?|agreeing|agreement|align(?:s|ed|ing|ment)?"
    r"|match(?:es|ed|ing)?|conform(?:s|ing)?|correspond(?:s|ing)?|fits?|echo(?:es)?|confirms?|reflects?|supports?"
    r"|justif(?:y|ies)|reproduces?|follows?) "
    rf"(?:with |to )?(?:the |this |its |our |that |what the )?(?:given |provided |official )?{_SOURCE}\b",
    # the writer has seen it
    r"\b(?:i|we)(?: was| were| am|['’]m| are|['’]re|['’]ve been| have been| had been)(?: already| explicitly| also)? "
    r"(?:told|given|informed|shown|provided|handed)(?: with| of)?(?: in advance| beforehand)?(?: that)?,?"
    r"(?: the| this| it| its)?(?: \w+){0,3}? (?:answer|label|verdict|judge?ment|relevant|irrelevant|outcome)\b",
    r"\b(?:i|we) (?:already )?know (?:that )?(?:the |its )?(?:correct |right |final )?(?:answer|label|verdict"
    r"|outcome)\b",
    r"\b(?:told|informed) (?:me|us) (?:that )?(?:the|this|it)(?: \w+){0,2} (?:answer|label|verdict|relevant"
    r"|irrelevant)\b",
    r"\bbackwards? from the (?:\w+ )?(?:answer|label|verdict|judge?ment|result)\b",
    # a given answer is said to be something, or is followed
    r"\b(?:the|this|its) (?:relevance |gold |target |given )?(?:label|hint|annotation|target|gold \w+|verdict"
    r"|answer key) (?:here |already |also |clearly |itself )?(?:suggest|agree|disagree|contradict|oppose|demand"
    r"|dictate|insist|tip|force|leave|point|reject|rule|want|require)(?:s|ed)?\b",
    rf"\b{_GIVEN} (?:relevance )?{_WHAT} (?:here )?(?:suggest|agree|disagree|contradict|demand|dictate|insist"
    rf"|wants|tells|requires|points|leaves|makes it)",
    rf"\b(?:the (?:outcome|end result|final answer|verdict|judge?ment)) (?:here )?{_SHOULD} (?:be|come out|end up"
    r"|turn out)(?: as)? (?:an? )?(?:positive|negative)\b",
    r"\bas the (?:key|reference|label|hint|dataset|annotation|solution) (?:has|says|puts|would|wants"
    r"|suggests)\b",
    r"\b(?:label|verdict|score|rating|judge?ment|annotation|hint)s? (?:that (?:is|was|came) |which (?:is|was) )?"
    r"(?:supplied|provided|given|attached|assigned|handed|shown) (?:with|to|for|alongside) (?:the|this|me|us"
    r"|it)\b",
    r"\b(?:is|was|been|pair) (?:labell?ed|annotated|marked|tagged|scored|rated|graded) (?:as "
    r"|with )?(?:an? )?[0-3]\b",
    # somebody judged before
    rf"\b(?:someone|somebody|they|a human|an expert) (?:has |have |had )?already {_THINKS} {_THIS}\b",
    r"\b(?:whoever|whichever \w+|(?:person|people|one|ones|experts?|human) (?:who|that)) (?:has |have "
    rf"|had )?(?:rated|labell?ed|annotated|marked|graded|judged|scored|tagged|assessed) {_THIS}\b",
    r"\b(?:whoever|(?:person|people|ones?) who) (?:made|gave|set|assigned|wrote) (?:the|this|that) "
    r"(?:label|judge?ment|rating|verdict|annotation|decision|call|score)\b",
    r"\b(?:got|received|earned|carries|bears|has|was given|been given|gets|with) (?:an? |the )?(?:positive"
    r"|negative) "
    r"(?:relevance )?(?:label|mark|judge?ment|annotation|verdict|tag)\b",
    # known before it was judged
    rf"\b(?:i|we) (?:already )?(?:know|knew) (?:that )?{_THIS} (?:one )?(?:is|was|counts|has been) (?:as |to be )?"
    r"(?:an? )?(?:not |ir|non-?)?(?:relevant|positive|negative|match|hit|miss)\b",
    rf"\b{_WHAT} (?:here |itself )?(?:is|has) already (?:been )?(?:fixed|decided|established|settled|set"
    rf"|given|known|made|determined|chosen)\b",
    rf"\b{_WHAT} (?:here |itself )?(?:is|was|has been|had been|being) (?:fixed|decided|established|settled|set"
    rf"|determined|known|chosen|agreed|made|given) (?:{_BEFORE}|for (?:me|us))\b",
    rf"\b{_WHAT},? (?:that |which )?{_I_WAS} (?:handed|given|shown|told|supplied|provided|dealt)\b",
    rf"\b{_WHAT} (?:that |which )?{_I_WAS} (?:supposed|meant|expected|asked|required) to\b",
    rf"\bwith the {_WHAT} (?:already )?(?:in hand|in mind|in view|known|given|fixed|settled|at hand"
    rf"|in front of)\b",
    r"\b(?:reverse[- ]engineer|retrofit|rationali[sz])\w* (?:the |this |that |a |from )?(?:given )?"
    r"(?:label|verdict|answer|judge?ment|rating|outcome|decision|conclusion)\b",
    # it is concealed
    rf"\b(?:without|avoid|avoiding) (?:explicitly |ever |openly |even )?{_HIDE}\w*ing (?:on |away "
    rf"|to )?(?:that|the fact|the (?:given |provided )?(?:label|hint|annotation)|what (?:i|we)|how (?:i|we)"
    rf"|having|(?:the|its|an?) (?:answer|solution|outcome|conclusion|verdict|judge?ment|result) (?:was|is"
    rf"|has been) (?:given|supplied|provided|known|shown|told|fixed))\b",
    r"\b(?:pretend\w*|as if|as though|like)(?: that)? (?:i|we) (?:do not|don['’]t|did not|didn['’]t|had not"
    r"|hadn['’]t|have not|haven['’]t|had never|never|know nothing|knew nothing|had no|have no|was never"
    r"|were never)\b",
    r"\b(?:is|was|been) (?:classed|filed|entered|put down|put|sorted) (?:as|into|under) (?:an? |the )?(?:not |ir"
    r"|non-?)?(?:relevant|positive|negative|match|hit|miss)\b",
    r"\bthe (?:positive|negative) (?:relevance )?(?:label|judge?ment|annotation|tag)\b",
    r"\b(?:reviewer|judge|expert|maker|author|creator)s? of (?:this|the) (?:data ?set|pair|benchmark|example)\b",
    r"\bpretend(?:ing)? (?:not to|to (?:decide|judge|reason|weigh|think|find|discover|not))\b",
    r"\b(?:as if|as though) (?:i|we)(?: had| have|['’]d)? (?:reached|arrived|come|concluded|found|decided|judged"
    r"|worked)\b",
)  # fmt: skip
MODEL = (
    r"\b(?:as|i am|i['’]m|being) (?:just |only )?an? (?:ai|artificial intelligence|(?:large )?language model)\b",
    r"\bmy training (?:data|set|cut-?off)", r"\bi was trained\b",
    r"(?:developed|created|made|trained) by (?:openai|deepseek)",
)  # fmt: skip
PROMPT = (
    r"\b(?:the|this|my|your) (?:system )?prompt (?:say|state|ask|tell|want|instruct|require|specifie|doesn|does"
    r"|is\b)\w*",
    "system (?:prompt|message|instruction)s?", "(?:output|response|answer|required) format",
    r"(?:instructed|prompted|told|asked) (?:me )?to (?:answer|respond|output|reply|say|write|return|only)\b",
    "answer only with", "with (?:only )?['\"“]?true['\"”]? or ['\"“]?false",
)  # fmt: skip


def _up_to(words: int) -> str:
    """At most so many words of one sentence, each with the space after it."""
    return rf"(?:[^ .!?\n]+ ){{0,{words}}}"


_FOLLOWS = (
    r"\b(?:consistent|lines? up|in line|in keeping|agrees?|agreement|accord(?:s|ance)?|fits?|match(?:es)?"
    r"|follow(?:s|ing)?|support(?:s|ing)?|justif(?:y|ies|ying)|contradicts?|reach|arrive at|defend|explains?"
    rf"|squares?|comply|honou?r|reconcile|faithful) {_up_to(2)}(?:the|its|this|my|our|that|an?) "
)
# A small grammar for what no list of phrases reaches: classes of words, and a few free words between two of them in one
# sentence. A rule has three parts: the middle one, without free words, is quick to look for in a whole column.
GRAMMAR = (
    # a given answer is said to be something, or is followed
    ("", rf"\b{_GIVEN} (?:relevance )?{_WHAT}", rf"(?: here| for this \w+)? {_IS} {_up_to(1)}{_VALUE}"),
    (_FOLLOWS, r"\b(?:given|provided|supplied|assigned|attached|target|gold|desired|official|predetermined|preset"
     rf"|prescribed|designated|known) (?:relevance )?{_WHAT}", r"\b"),
    (_FOLLOWS, r"\b(?:expected|required|intended) (?:label|output|outcome|verdict|judge?ment|rating|score|conclusion)",
     r"\b"),
    ("", rf"\b(?:the|its|this) (?:target|gold|hint|key|reference) {_IS} ", _VALUE),
    ("", r"\b(?:given|since|because|told|informed|knowing|know|considering|seeing|apparently)(?: that)? (?:the|its) "
     rf"(?:correct|right|true|final|actual|real) {_WHAT}", rf"(?: here| for this \w+)? {_IS} {_VALUE}"),
    ("", rf"\b(?:the|my|this) {_WHAT} (?:here )?(?:is|was) (?:supposed|meant|expected|required|stated|said|known) to "
     "(?:be|come|end) ", _up_to(2) + _VALUE),
    ("", r"\b(?:the|an?) (?:evaluation|system|record|task|key|solution|answer field|entry|field|sheet|file|input"
     r"|row|pair)"
     "(?:['’]s answer)? (?:is|says|shows|gives|tells|marks|lists|has|wants|counts|treats|puts|states|calls) ",
     _up_to(4) + _VALUE),
    # somebody judged before
    ("", rf"\b{_ASSESSOR} ", rf"{_up_to(3)}{_THINKS}\b"),
    (rf"\b{_THINKS} {_up_to(4)}by (?:an? |the |some |two |three |several )?(?:expert "
     rf"|professional )?", rf"\b{_ASSESSOR}",
     r"\b"),
    ("", rf"\b(?:judge|reviewer|evaluator|expert|examiner|person|people|human|someone|somebody)s? {_PERHAPS}{_THINKS} "
     rf"{_THIS} ", rf"{_up_to(3)}(?:not (?:a )?|ir|un|non-?)?(?:relevant|positive|negative|match|hit|miss|helpful)\b"),
    # the author must reach a given end
    ("", rf"\b(?:{_I_WAS}|having been|being)(?: just| only| also| here)? (?:supposed|asked|required|told|expected"
     r"|instructed|meant|bound|forced|obliged|directed|tasked|ordered)(?: here)? (?:to|with) ",
     rf"{_TO_REACH}\w* {_up_to(6)}{_HOLDS}"),
    ("", r"\b(?:they|somebody|someone|the (?:task|system|prompt|instructions?)) (?:want|expect|need|ask|require"
     r"|tell|force|instruct|oblige)(?:s|ed|d)? (?:me|us) to ", rf"{_TO_REACH}\w* {_up_to(6)}{_HOLDS}"),
    ("", r"\b(?:i|we)(?: now| just| only| still|['’]ll| will| would|['’]ve)? (?:need to|have to|had to|must|got to"
     rf"|am to|are to) {_TO_DEFEND} ", _up_to(6) + _HOLDS),
    ("", r"\b(?:i|we) (?:only|just|merely) (?:need|have) to (?:find|name|list|give) ", _up_to(3) + _HOLDS),
    ("", r"\b(?:my|our|this|the) (?:explanation|reasoning|argument|task|job|analysis|justification|thinking|rationale"
     rf"|trace) (?:here )?{_SHOULD} ", rf"{_up_to(2)}(?:end|arrive|lead|land|conclude|come|support|justify|reach|point"
     rf"|explain|defend|argue|show) {_up_to(4)}{_HOLDS}"),
    ("", r"\b(?:task|job|aim|role|goal|brief|assignment)(?: here| now)? is (?:just |only |merely "
     r"|simply )?to (?:justify|explain|defend|rationali[sz]e|argue|support) ", _up_to(6) + _HOLDS),
    # known before it was judged
    ("", r"\b(?:knowing|(?:i|we) (?:know|knew)) ", rf"{_up_to(2)}{_BEFORE} {_up_to(8)}{_HOLDS}"),
    ("", rf"\b{_I_WAS}(?: already| explicitly| also)? (?:told|given|informed|shown|provided|handed) ",
     rf"{_up_to(6)}(?:label|verdict|judge?ment|conclusion|solution|(?:not |ir)?relevant|non-match)\b"),
    ("", r"\b(?:told|informed|given|shown) (?:me|us) ", rf"{_up_to(6)}(?:{_VALUE}|label|verdict)"),
    ("", rf"\b{_THIS} (?:one )?(?:is|was) (?:supposed|meant|expected|known|intended|required) to (?:be|count|pass"
     "|come out|end up) ", rf"{_up_to(2)}(?:not |ir|non-?)?(?:relevant|positive|negative|match|hit|miss)\b"),
    # it is concealed
    ("", r"\b(?:i|we) (?:should|must|can|will|shall|may|had better|ought to|need to|have to|want to)(?:n['’]t| not"
     rf"| never|not| avoid| hide| conceal) {_HIDE}", rf"\w* {_up_to(4)}(?:label|verdict|judge?ment|hint"
     rf"|given answer|i (?:already )?"
     r"(?:know|knew|had it|was (?:told|given|shown)|have (?:seen|been)))\b"),
)  # fmt: skip
# What follows words that are no leak after all: "the label on the bottle", "consistent with the reference to Rome".
OTHER_SENSE = re.compile(
    r"(?<=label) (?:on|of|for)\b(?! (?:this|the) (?:pair|example|instance|item|sample|query|passage|document|text)\b)"
    r"|(?<=reference) (?:to|in|of|list|point|frame|range|value|number)\b|(?<=benchmark) (?:for|of|index|rate)\b"
    r"|(?<=ai|el|ce) (?:company|researcher|engineer|tool|system|startup|expert)\b"
    r"|(?:(?<=ed)|(?<=en)|(?<=ys)|(?<=tes)) (?:in|by|within) (?:the|this) (?:passage|text|document|paragraph|article"
    r"|author|study|report)\b"
)
# A question that is still open: "asked to say whether it is relevant", "true or false".
OPEN = re.compile(r"\bwhether\b|\bor (?:not|false|no|ir)|\bif (?:it|this|the)\b|\beither\b")
# Words that queries and passages may themselves be about, and values of a judgement.
TOPIC = re.compile(
    r"\b(?:label|annotat|rater|assessor|grader|judge|verdict|rating|score|solution|hint|key|target|outcome|output"
    r"|reference|dataset|benchmark|gold|metadata|marking|grade|result|decision|classif"
    r"|examiner|reviewer|expert)"
)
JUDGED = re.compile(r"(?:ir)?relevant|true|false|positive|negative|non-match")
