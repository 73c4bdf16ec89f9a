"""A pasted log makes an easy question no harder, and lines that report an error stay."""

import pytest

from gateway.routing.classifier import text_signals

FORMS = (
    "2026-11-26 17:16:23,101 INFO web: request done in 3 ms",
    "2026-11-26T17:16:23Z store opened",
    "[2026-11-26 17:16] started",
    "17:16:23.101 [main] ready",
    "2026/11/26 17:16:23 listening",
    "Nov 26 17:16:23 host sshd[812]: accepted",
    "Nov  6 17:16:23 host cron: ran",
    '127.0.0.1 - - [26/Nov/2026:17:16:23 +0000] "GET / HTTP/1.1" 200 12',
    "[WARN] disk is nearly full",
    "> INFO: 3 jobs wait",
    "  DEBUG cache hit",
    '{"level":"info","msg":"opened","ms":3}',
    '{"@timestamp":"2026-11-26T17:16:23Z","message":"opened"}',
)
QUESTION = "What is the capital of Peru?"


@pytest.mark.parametrize("line", FORMS)
def test_log_lines_are_recognised_by_how_they_begin(line: str) -> None:
    text = f"{QUESTION}\n\n{line}\n{line}\n{line}"
    assert text_signals.fold_log_lines(text) == f"{QUESTION}\n\n."
    assert text_signals.read_signals(text).words == 7


@pytest.mark.parametrize(("lines", "words"), [(3, 1), (15, 1), (16, 2), (40, 3)])
def test_a_block_of_log_lines_counts_as_a_few_words(lines: int, words: int) -> None:
    text = "\n".join([QUESTION, *[FORMS[0]] * lines])
    assert text_signals.read_signals(text).words == 6 + words


def test_a_fenced_log_is_no_code() -> None:
    text = f"{QUESTION}\n```text\n" + f"{FORMS[1]}\n" * 8 + "```\nThanks"
    assert text_signals.fold_log_lines(text) == f"{QUESTION}\n.\n\nThanks"
    assert text_signals.read_signals(text).code == 0
    mixed = "```\nx = 1;\ny = 2;\nz = 3;\n" + f"{FORMS[1]}\n" * 8 + "```"
    assert text_signals.fold_log_lines(mixed) == "```\nx = 1;\ny = 2;\nz = 3;\n.\n```"
    wrong = f"```\n{FORMS[1]}\n{FORMS[1]}\n{FORMS[1]}\n10:00:00 ERROR no\n```"
    assert text_signals.fold_log_lines(wrong) == ".\n10:00:00 ERROR no\n"


@pytest.mark.parametrize(
    "wrong",
    [
        "2026-11-26 17:16:23 ERROR could not open the file",
        "17:16:23 FATAL out of memory",
        "2026-11-26 17:16:23 INFO java.lang.NullPointerException: x",
        '{"level":"info","msg":"panic: nil"}',
        "INFO error: no such user",
    ],
)
def test_log_lines_that_report_an_error_stay(wrong: str) -> None:
    """The question is likely to be about these lines."""
    text = "\n".join(["Why?", *[FORMS[0]] * 4, wrong, *[FORMS[0]] * 4])
    assert text_signals.fold_log_lines(text) == f"Why?\n.\n{wrong}\n."


@pytest.mark.parametrize(
    ("cut_line", "rest", "kept"),
    [
        ("cache hit for 165", FORMS[0], ""),
        ("an ERROR in job 165", FORMS[0], "an ERROR in job 165\n"),
        ("cache hit for 165", "A line of a letter.", "cache hit for 165\n"),
    ],
)
def test_the_rest_of_a_log_line_goes_where_a_long_text_is_cut(
    cut_line: str, rest: str, kept: str
) -> None:
    tail = f"\n{rest}" * 12 + f"\n\n{QUESTION}"
    text = f"{FORMS[0]}\n" * 100
    room = text_signals.MAX_CHARS - text_signals.HEAD_CHARS - len(tail) - len(cut_line)
    tail += " " * room
    text = f"{text}{FORMS[0]} {cut_line}{tail}"
    excerpt, _ = text_signals.read_excerpt(text)
    assert text[-1000:].startswith(cut_line)
    assert ("165" in excerpt, kept in excerpt) == (bool(kept), True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Plain text.",
        f"{FORMS[0]}\n{FORMS[1]}\nWhat does it mean?",
        "One.\nTwo.\nThree.\nFour.",
        "def f():\n    return 1\n\nWARNINGS = 3\n",
        "1. Peel the apples.\n2. Cut them.\n3. Bake at 180 for 30:00.",
        "INFORM me of:\n- this\n- that\n- the other",
    ],
)
def test_text_without_a_log_stays_unchanged(text: str) -> None:
    """One or two lines that look like a log also stay: they may be the subject of the question."""
    assert text_signals.fold_log_lines(text) is text


def test_folding_a_log_takes_linear_time() -> None:
    """Folding takes linear time, even if the whole text looks like starts of log lines."""
    text = "2026-11-26 17:16" + "\n[2026-11-2" * 300 + "\n" + "1." * 2000
    assert text_signals.fold_log_lines(text) is text


def test_a_stack_trace_stays() -> None:
    trace = (
        'Traceback (most recent call last):\n  File "a.py", line 3, in <module>\nValueError: no\n'
    )
    assert text_signals.fold_log_lines(trace) is trace
    assert text_signals.read_signals("\n".join([*FORMS[:3], trace])).trace
