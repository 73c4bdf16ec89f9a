"""Logs that somebody has pasted: lines that are looked at, and no prose."""

import re

FEWEST = 3
"""One or two such lines may be what is written about."""
MARK = "."
"""What stands for lines: a word to those who count words, and in no list of them."""
_MANY = 16
"""Lines for which there is one mark more."""

_STAMP = (
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d"  # 2026-11-26 17:16, as most write it
    r"|\d\d:\d\d:\d\d"
    r"|\d{2,4}/\d\d/\d\d \d\d:\d\d"
    r"|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d"  # Nov 26 17:16:23, as syslog does
    r"|\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3} "  # an address, as web servers do
    r"|\{\"(?:@?timestamp|ts|time|level|severity|msg|message)\":"  # a line of JSON
    r"|(?:TRACE|DEBUG|INFO|NOTICE|WARN|WARNING)\b"
)
_WRONG = r"ERROR|FATAL|CRITICAL|SEVERE|[Ee]rror:|[Ee]xception|panic:|Traceback"
"""What is asked about where a log is asked about: these lines stay."""
_LINE = re.compile(
    rf"^(?:> ?| {{1,4}})?[\[(<]?(?:{_STAMP})(?![^\n]*(?:{_WRONG}))[^\n]*", re.MULTILINE
)
_RUN = re.compile(rf"^{re.escape(MARK)}(?:\n{re.escape(MARK)}$)*", re.MULTILINE)
_FENCE = re.compile(r"```\w*\n([^`]*)```")


def fold(text: str) -> str:
    """The text with a mark in place of the lines of a log, where there is one; linear in it.

    A fence about little else goes with them: it is no code.
    """
    if text.count("\n") < FEWEST - 1:
        return text
    found, count = _LINE.subn(MARK, text)
    if count < FEWEST:
        return text
    found = _RUN.sub(_fewer, found)
    return _FENCE.sub(_bare, found) if "```" in found else found


def _fewer(run: re.Match[str]) -> str:
    """A mark for all lines that stand together, and one more for so many."""
    return "\n".join([MARK] * (1 + run[0].count(MARK) // _MANY))


def _bare(fence: re.Match[str]) -> str:
    """What stands in a fence, without it where little else than marks is in it."""
    lines = fence[1].split("\n")
    return fence[1] if 2 * lines.count(MARK) >= len(lines) - 1 else fence[0]
