"""Pasted code, tables and quotes: long blocks are folded, and the question stays whole."""

import time

import pytest

from gateway.routing.classifier import text_signals
from gateway.routing.classifier.pasted_text import MIN_BLOCK_LINES, fold_blocks
from gateway.routing.rules.context import RuleContext
from tests.metamorphic.snippets import CODE
from tests.routing import world

QUESTION = "What is the capital of Peru?"
TABLE = "pod-{n}   1/1   Running   4d"


def lines_of(form: str, count: int = 40) -> str:
    rows = [line for n in range(count) for line in form.format(n=n, day=n).splitlines()]
    return "\n".join(rows[:count]).rstrip()


@pytest.mark.parametrize("form", CODE)
def test_a_long_block_of_code_is_folded_to_a_dot(form: str) -> None:
    """A block of settings does not count as code: it has few marks of programming."""
    code, has_code = lines_of(form), not form.startswith("# settings")
    assert fold_blocks(f"{QUESTION}\n\n{code}") == (f"{QUESTION}\n\n.", has_code)
    assert fold_blocks(f"{code}\n\n{QUESTION}") == (f".\n\n{QUESTION}", has_code)


@pytest.mark.parametrize("form", CODE[:-1])
def test_rules_see_pasted_code_and_the_classifier_does_not(form: str) -> None:
    call = world.call(f"{QUESTION}\n\n{lines_of(form)}")
    rules = world.rules(choices=[{"when": {"code": {"min": 1}}, "tier": "smart"}])
    assert rules.choices[0].test(RuleContext(call, rules.patterns))
    assert call.signals.pasted_code
    assert call.signals.total_code == 1
    assert call.signals.words < 30
    plain = text_signals.read_signals(QUESTION)
    assert plain.total_code == plain.code == 0


def test_a_fence_is_folded_with_its_content() -> None:
    text = f"{QUESTION}\n```python\n{lines_of(CODE[0])}\n```\nThanks!"
    assert fold_blocks(text) == (f"{QUESTION}\n.\nThanks!", True)
    prose = "One sentence of a letter.\n" * 30
    assert fold_blocks(f"{QUESTION}\n```\n{prose}```") == (f"{QUESTION}\n.", False)


def test_prose_between_two_short_fences_is_not_folded() -> None:
    text = "```\nx = 1\n```\n" + "A letter of many lines\n" * 30 + "```\ny = 2\n```"
    assert fold_blocks(text)[0] is text


@pytest.mark.parametrize("row", ["> a line of a letter", TABLE, "-rw-r--r-- 1 app app {n} a.tar"])
def test_quotes_and_tables_are_folded_but_are_no_code(row: str) -> None:
    rows = lines_of(row)
    assert fold_blocks(f"{QUESTION}\n\n{rows}") == (f"{QUESTION}\n\n.", False)


def test_broken_lines_within_code_do_not_end_a_block() -> None:
    """Two pieces of lines stand next to each other at the place where a text is cut."""
    code = lines_of(CODE[0], 15)
    text = f"{QUESTION}\n\n{code}\nurn rows of\nhe file\n{code}"
    assert fold_blocks(text)[0] == f"{QUESTION}\n\n."


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n".join([QUESTION, lines_of(CODE[0], MIN_BLOCK_LINES - 1)]),
        lines_of(CODE[0]),
        lines_of(TABLE.replace("pod", "1").replace("Running", "2").replace("4d", "3")),
        "A letter of many lines.\nIt goes on.\n" * 20,
        f"{QUESTION}\n" + "\n".join(f"{letter}. f(x);" for letter in "ABCDEFGHIJ" * 3),
        f"{QUESTION}\n" + "    at com.example.Main.run(Main.java:12)\n" * 30,
        f"{QUESTION}\n```\nTraceback (most recent call last):\n" + "x = f(1)\n" * 30 + "```",
    ],
    ids=["nothing", "short", "code alone", "figures alone", "prose", "options", "stack trace", "fenced trace"],
)  # fmt: skip
def test_short_blocks_prose_and_stack_traces_stay(text: str) -> None:
    """A short block, a block with nothing beside it, prose and stack traces stay."""
    folded, has_code = fold_blocks(text)
    if "Traceback" not in text:
        assert folded is text
    assert "Traceback" in folded or not has_code


@pytest.mark.parametrize(
    "line", ["a = 1", "a: ", "  x", "a  b  c", "> x", "odd line", "```", "if x."]
)
@pytest.mark.parametrize("other", ["", "odd", "a = 1", "```"])
def test_folding_blocks_takes_linear_time(line: str, other: str) -> None:
    text = f"{line}\n{other}\n" * 1_500
    began = time.process_time()
    fold_blocks(text)
    assert time.process_time() - began < 1
