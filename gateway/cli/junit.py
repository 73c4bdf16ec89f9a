"""Verdicts as JUnit XML, which CI systems show test by test."""

import re
from collections.abc import Iterable
from xml.sax.saxutils import escape, quoteattr

from gateway.evaluation.golden import GoldenResult

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no XML may hold (XML 1.0, 2.2)."""


def junit(file: str, verdicts: Iterable[GoldenResult], told: Iterable[list[str]]) -> str:
    """One test case a prompt; `told` is what is said of each, by lines."""
    cases = [_case(file, verdict, lines) for verdict, lines in zip(verdicts, told, strict=True)]
    failed = sum(case.endswith("</testcase>\n") for case in cases)
    counts = f'name="golden prompts" tests="{len(cases)}" failures="{failed}"'
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<testsuites>\n<testsuite {counts}>\n{''.join(cases)}</testsuite>\n</testsuites>\n"
    )


def _case(file: str, verdict: GoldenResult, lines: list[str]) -> str:
    named = f"<testcase classname={_quoted(file)} name={_quoted(verdict.name)}"
    if verdict.passed:
        return f"{named}/>\n"
    message = _quoted("; ".join(line.strip() for line in lines))
    text = escape(_NOT_XML.sub("\ufffd", "\n".join(lines)))
    return f"{named}>\n<failure message={message}>{text}</failure>\n</testcase>\n"


def _quoted(text: str) -> str:
    return quoteattr(" ".join(_NOT_XML.sub("\ufffd", text).split()))
