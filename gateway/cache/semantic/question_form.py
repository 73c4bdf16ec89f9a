"""The form of a question: only questions of the same form may share an answer.

A vector cannot tell "15%" from "50%" or "largest" from "smallest". So the thing asked must be
equal, letter for letter: numbers, names, negations, languages and code. Only the phrasing may
differ: "How do I reset my phone?" has the form of "Please tell me how to reset my phone.".
"""

import re

_MAX_TEXT_CHARS = 400
"""Maximum characters of a text with a form. People rarely ask a longer text in other words."""
_POLITE_PATTERN = r"(?:(?:hi|hello|please)[,!]? )*(?:(?:can|could|would) you (?:please )?)?"
_IS_PATTERN = r"(?:['\u2019]s| is)"
_BEST_PATTERN = r"(?:(?:best|right|proper|easiest|good) )?"
_HOW_PATTERN = (
    r"(?:(?:tell|show|teach) me )?(?:how (?:do|can|should) i|how to|what can i do to"
    rf"|what do i need to do to|what{_IS_PATTERN} (?:the|a) {_BEST_PATTERN}(?:way|process) to)"
)
_POINTING_PATTERN = (
    r"(?:the|my|our|your|this|that|these|those|hi[sm]|her|its?|the[mi]\w*|what|how|why|to)\b"
)
"""Words after which "explain" asks for more than a definition."""
_VERBS = ("write", "give", "suggest", "recommend", "tell", "show", "list", "explain")
_PHRASINGS = (
    ("how to", rf"{_HOW_PATTERN} (.+)"),
    ("what is", r"(?:explain|define|tell me) what (.+) is"),
    ("what is", rf"explain (?!{_POINTING_PATTERN})(.+?)(?: to me)?"),
    ("what is", rf"what{_IS_PATTERN} (.+)"),
    *((verb, rf"{verb} (?:me )?(.+)") for verb in _VERBS),
)
"""Names and patterns of phrasings; the first that fits counts."""
_PATTERNS = tuple(
    (name, re.compile(_POLITE_PATTERN + pattern, re.IGNORECASE | re.DOTALL))
    for name, pattern in _PHRASINGS
)


def parse_question_form(text: str) -> tuple[str, str] | None:
    """Return how a text asks and what it asks; None if no other text may share its answer."""
    text = text.strip().removesuffix("?").removesuffix(".")
    if len(text) > _MAX_TEXT_CHARS:
        return None
    matches = ((name, pattern.fullmatch(text)) for name, pattern in _PATTERNS)
    return next(((name, match[1]) for name, match in matches if match is not None), None)
