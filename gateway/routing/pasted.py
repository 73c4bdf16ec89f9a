"""Logs that somebody has pasted: each line is one thing that is looked at, and no prose."""

import re

FEWEST = 3
"""One or two such lines may be what is written about."""
MARK = "."
"""What stands for a line: a word to those who count words, and in no list of them."""

_STAMP = (
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d"  # 2026-11-26 17:16, as most write it
    r"|\d\d:\d\d:\d\d"
    r"|\d{2,4}/\d\d/\d\d \d\d:\d\d"
    r"|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d"  # Nov 26 17:16:23, as syslog does
    r"|\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3} "  # an address, as web servers do
    r"|\{\"(?:@?timestamp|ts|time|level|severity|msg|message)\":"  # a line of JSON
    r"|(?:TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|FATAL|CRITICAL)\b"
)
_LINE = re.compile(rf"^[\[(<]?(?:{_STAMP})[^\n]*", re.MULTILINE)


def fold(text: str) -> str:
    """The text with a mark in place of each line of a log, where there are a few; linear in it."""
    if text.count("\n") < FEWEST - 1:
        return text
    found, count = _LINE.subn(MARK, text)
    return found if count >= FEWEST else text
