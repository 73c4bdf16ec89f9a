# ruff: noqa: E501 -- a frame stays on its line
"""The way in which something is asked, apart from what is asked: "how do I", "could you tell me".

A text in lower case goes in; a word for the way and what is left come out.
"""

import re

_WAY = r"(?:way|method|approach|procedure|process|technique)"
_FINE = r"(?:best |right |proper |correct |good |recommended |usual |normal )?"
_I = r"(?:i|someone|somebody)"
"""Not "you" and "we": who asks a company how *it* does something asks another question."""
_MAY = r"(?:do|can|could|should|would|might)"
_ASK = (
    r"(?:please )?(?:explain|tell|show|give|write|list|describe|suggest|recommend|help|define|"
    r"compare|summarize|summarise|name|provide|draft|compose|generate|teach|walk|share|find|"
    r"calculate|create|make|sort|convert|translate|think)\b"
)
_BEFORE = tuple(
    re.compile(form)
    for form in (
        r"^(?:hi|hello|hey|ok|okay|so|well|also|and)(?: there)?[,!.]? +",
        r"^please,? +",
        rf"^(?:can|could|would|will) you (?:please |kindly |quickly )?(?={_ASK})",
        r"^(?:i would like|i want|i need) you to +",
        r"^(?:i was wondering|i am wondering|do you know|does anyone know|any idea|quick question)[,:]? +(?:if you (?:can|could) +)?(?=(?:what|how|why|who|where|when|which|explain|tell)\b)",
        r"^help me (?:to )?(?=(?:write|find|make|create|compose|draft)\b)",
        r"^help me (?:to )?(?:understand|learn) (?=(?:what|how|why)\b)",
    )
)
_BEHIND = tuple(
    re.compile(form)
    for form in (
        r"[,.]? +(?:please|thanks|thank you|thx|thank you very much|thanks in advance)$",
        r"[.!?;] +(?:can you help(?: me)?|please help)$",
        r"^((?:explain|describe|define|list|show|write|give)\b.*) (?:to|for) me$",
    )
)

_WISH = re.compile(
    r"^(?:i would like|i want|i need|i am trying|i wish) to (.*?)[.!?;,]+ +(?:please )?(?:tell me )?"
    r"(?:how (?:do|can|could|should) i (?:do|begin|start|go about)(?: (?:it|that|this|so))?|how)$"
)
_FRAMES: tuple[tuple[re.Pattern[str], str, str], ...] = tuple(
    (re.compile(form), way, left)
    for form, way, left in (
        # How something is done.
        (rf"^how (?:{_MAY}) {_I} go about +(.*)", "do", r"\1"),
        (rf"^how (?:{_MAY}) {_I} +(.*)", "do", r"\1"),
        (r"^how to +(.*)", "do", r"\1"),
        (rf"^(?:what|which) is (?:the |a |your )?{_FINE}{_WAY} (?:to|of|for|i can) +(.*)", "do", r"\1"),
        (rf"^what are (?:the |some )?{_FINE}(?:ways|steps|methods) (?:to|of|for|i can) +(.*)", "do", r"\1"),
        (rf"^(?:tell|show|teach|explain)(?: to)?(?: me)? how (?:to|{_I} (?:can|could|should)) +(.*)", "do", r"\1"),
        (r"^walk me through(?: how to)? +(.*)", "do", r"\1"),
        (r"^(?:i would like|i want|i need) to (?:know|learn|understand) how to +(.*)", "do", r"\1"),
        (r"^what (?:can|could|should|must) i do (?:to|in order to) +(.*)", "do", r"\1"),
        (r"^what do i (?:need|have) to do to +(.*)", "do", r"\1"),
        (r"^is there (?:a|any) (?:good |easy )?way (?:to|of|i can) +(.*)", "do", r"\1"),
        (r"^(?:any|some|give me(?: some| a few)?|share) (?:tips|advice) (?:for|on|about) +(.*)", "tips", r"\1"),
        # Why something is so.
        (r"^why (?:do|does|did) (.*) (?:happen|occur)$", "why", r"\1"),
        (r"^(?:why|how come) (?:(?:do|does|did|is|are|was|were)\b)? *(.*)", "why", r"\1"),
        (r"^(?:what is|explain) the reason (?:that |why |for )?(.*)", "why", r"\1"),
        (r"^what (?:makes|causes|caused) (?!a |an )(.*)", "why", r"\1"),
        (r"^(?:explain|tell me) why +(.*)", "why", r"\1"),
        # How something goes.
        (r"^how (?:should|can|could|must) (.*) be (\w+ed|made|built|written|done|kept|grown)$", "do", r"\2 \1"),
        (r"^(?:explain|describe|tell me|show me)(?: to me)? how (?!to |much |many |long |far |old )(.*)", "how", r"\1"),
        (r"^how many (.*) (?:does|do) (.*) have$", "how", r"many \1 in \2"),
        (r"^how many (.*) (?:is|are)(?: there)? in (.*)$", "how", r"many \1 in \2"),
        (r"^how much time (?:does|do|did) (?:it take|i need) to (.*)", "how", r"long it take to \1"),
        (r"^how long (?:does|do|did) (?:it take|i need) to (.*)", "how", r"long it take to \1"),
        (r"^(is|are) (?!it )(.*) (safe|okay|healthy|legal|illegal|dangerous|possible) to (\w+)$", "whether", r"it \3 to \4 \2"),
        # What two things have apart.
        (r"^(?:what is|what are|explain|describe|tell me) the (?:main |key )?differences? between +(.*) and +(.*)", "apart", r"\1 and \2"),
        (r"^how (?:does|do|is|are) +(.*) (?:differ|different) from +(.*)", "apart", r"\1 and \2"),
        (r"^how (?:do|are) +(.*) and +(.*) (?:differ|different)(?: from (?:each other|one another))?$", "apart", r"\1 and \2"),
        # What a word means.
        (r"^what (?:does|do) (?:the (?:word|term|acronym|abbreviation) )?(.*) (?:mean|stand for)$", "mean", r"\1"),
        (r"^what is the (?:meaning|definition) of (?:the (?:word|term|acronym|abbreviation) )?(.*)", "mean", r"\1"),
        # What something is.
        (r"^(?:what|which) (.*) is the (\w+est|most \w+)( .*|)$", "what", r"\2 \1\3"),
        (r"^(?:define|describe|explain) what (.*) (?:is|are|means?)$", "what", r"\1"),
        (r"^(?:tell me|explain|do you know)(?: to me)? what (.*) (?:is|are|was|were)$", "what", r"\1"),
        (r"^(?:which|what) (\w+(?: \w+)?) (?:does|do) (.*) have$", "what", r"\1 of \2"),
        (r"^(?:which|what) (\w+) (?:is|are) in (.*)$", "what", r"\1 of \2"),
        (r"^what (?:is|are) (?:a |an |some )(good|great) +(.*)", "give", r"\1 \2"),
        (r"^what (?:is|are) (?:some of )?(.*)", "what", r"\1"),
        (r"^(?:explain|define) (?:the concept of |briefly )?(?!the |my |our |your |this |that |these |those |his |her |its |their )(.*)", "what", r"\1"),
        (r"^tell me about (?!my |our |your |this |that |these |those |his |her |its |their )(.*)", "what", r"\1"),
        (r"^give me (?:an overview|an explanation|a description|a definition) of +(.*)", "what", r"\1"),
        (r"^(?:list|name|tell me|give me) (the .*)", "what", r"\1"),
        (r"^(?:summarize|summarise|outline) (the (?:plot|story|main|key)\b.*)", "what", r"\1"),
        # The hour and the place.
        (r"^at (what time .*)", "what", r"\1"),
        (r"^where (?:is|are) (.*) (?:located|situated|found)$", "where", r"\1"),
        (rf"^where can {_I} +(.*)", "where-do", r"\1"),
        # Who did something.
        (r"^(?:which|what) person +(.*)", "who", r"\1"),
        (r"^(?:which|what) (?:artist|painter) (painted .*)", "who", r"\1"),
        (r"^(?:which|what) (?:author|writer) (wrote .*)", "who", r"\1"),
        (r"^(?:which|what) scientist (discovered .*)", "who", r"\1"),
        (r"^(?:which|what) inventor (invented .*)", "who", r"\1"),
        (r"^who is the (?:author|writer) of +(.*)", "who", r"wrote \1"),
        (r"^who (?:was|is) the inventor of +(.*)", "who", r"invented \1"),
        (r"^who (?:was|is) the founder of +(.*)", "who", r"founded \1"),
        (r"^who (?:was|is) the creator of +(.*)", "who", r"created \1"),
        # What is asked for.
        (r"^(?:give|suggest|recommend|provide|share|offer)(?: me| us)? +((?:a |an |some |any )?\w+)(?: about| on| regarding| concerning) (.*)", "give", r"\1 about \2"),
        (r"^(?:give|suggest|recommend|provide|share|offer)(?: me| us)? +(.*)", "give", r"\1"),
        (r"^(?:i need|i want|i would like|can i have|could i have|may i have) (?:to hear )?((?:a |an |some )?(?:recipe|list|poem|joke|story|riddle|haiku|song|name|names|idea|ideas|tip|tips|advice|suggestion|suggestions|example|examples|quote|summary|template)\b.*)", "give", r"\1"),
        (r"^tell me (a|an|some) +(.*)", "give", r"\1 \2"),
        (r"^(write|compose|draft|create|generate|make) me +(.*)", "ask", r"\1 \2"),
        (r"^which\b(.*)", "what", r"\1"),
        (r"^(who|whom|whose|where|when|how|what)\b(.*)", r"\1", r"\2"),
        (r"^(?:is|are|am|was|were)\b +(.*)", "whether", r"\1"),
        (r"^(?:do|does|did)\b +(.*)", "whether do", r"\1"),
        (r"^(?:has|have|had)\b +(.*)", "whether have", r"\1"),
        (r"^(can|could|should|would|will|may|might|must|shall)\b +(.*)", r"whether \1", r"\2"),
    )
)  # fmt: skip
"""The first that fits is taken."""
_AHEAD = re.compile(r"^((?:in|on|with|using|for|at) \S+(?: \S+){0,3}), +(.+)$")
"""A phrase before the question, as "In git, ..."."""


def frame(text: str) -> tuple[str, str]:
    """How it is asked, and what is left of the text; "ask" where it is a plain order."""
    text = text.rstrip(" .")
    if (wish := _WISH.match(text)) is not None:
        return "do", wish[1]
    before = None
    while before != text:
        before = text
        for form in _BEFORE:
            text = form.sub("", text)
        for form in _BEHIND:
            text = form.sub(r"\1" if form.groups else "", text).rstrip(" .")
    text = _AHEAD.sub(r"\2 \1", text)
    for form, way, left in _FRAMES:
        found = form.match(text)
        if found is not None:
            return found.expand(way), found.expand(left).strip()
    return "ask", text
