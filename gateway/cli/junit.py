"""Verdicts on golden prompts as JUnit XML, which CI systems show test by test."""

import re
from collections.abc import Iterable
from xml.sax.saxutils import escape, quoteattr

from gateway.evaluation.golden import GoldenResult

_NON_XML_PATTERN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML forbids (XML 1.0, 2.2)."""


def format_junit(file: str, verdicts: Iterable[GoldenResult], details: Iterable[list[str]]) -> str:
    """Format verdicts, one test case for each prompt. `details` has the lines on each verdict."""
    cases = [
        _format_case(file, verdict, lines) for verdict, lines in zip(verdicts, details, strict=True)
    ]
    failure_count = sum(case.endswith("</testcase>\n") for case in cases)
    attributes = f'name="golden prompts" tests="{len(cases)}" failures="{failure_count}"'
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<testsuites>\n<testsuite {attributes}>\n{''.join(cases)}</testsuite>\n</testsuites>\n"
    )


def _format_case(file: str, verdict: GoldenResult, lines: list[str]) -> str:
    opening = f"<testcase classname={_quote_attribute(file)} name={_quote_attribute(verdict.name)}"
    if verdict.passed:
        return f"{opening}/>\n"
    message = _quote_attribute("; ".join(line.strip() for line in lines))
    text = escape(_NON_XML_PATTERN.sub("\ufffd", "\n".join(lines)))
    return f"{opening}>\n<failure message={message}>{text}</failure>\n</testcase>\n"


def _quote_attribute(text: str) -> str:
    return quoteattr(" ".join(_NON_XML_PATTERN.sub("\ufffd", text).split()))
