"""Pasted code, tables and quotes: long blocks are folded, and the question stays whole."""

import time

import pytest

from gateway.routing.classifier import text_signals
from gateway.routing.classifier.pasted_text import MIN_BLOCK_LINES, FoldedText, fold_blocks
from tests.metamorphic.snippets import CODE
from tests.routing import world

ASKED = "What is the capital of Peru?"
TABLE = "pod-{n}   1/1   Running   4d"


def lines_of(form: str, count: int = 40) -> str:
    rows = [line for n in range(count) for line in form.format(n=n, day=n).splitlines()]
    return "\n".join(rows[:count]).rstrip()


@pytest.mark.parametrize("form", CODE)
def test_a_long_block_is_a_mark(form: str) -> None:
    """A block of settings does not count as code: it has few marks of programming."""
    code, has_code = lines_of(form), not form.startswith("# settings")
    assert fold_blocks(f"{ASKED}\n\n{code}") == FoldedText(f"{ASKED}\n\n.", has_code)
    assert fold_blocks(f"{code}\n\n{ASKED}") == FoldedText(f".\n\n{ASKED}", has_code)


@pytest.mark.parametrize("form", CODE[:-1])
def test_rules_see_the_code_that_is_pasted_and_the_classifier_does_not(form: str) -> None:
    call = world.call(f"{ASKED}\n\n{lines_of(form)}")
    rules = world.rules(choices=[{"when": {"code": {"min": 1}}, "tier": "smart"}])
    assert rules.choices[0].test(rules.make_context(call))
    assert call.signals.pasted_code
    assert call.signals.total_code == 1
    assert call.signals.words < 30
    plain = text_signals.TextScan(ASKED)
    assert plain.total_code == plain.code == 0
    assert text_signals.TextScan(call.text).total_code == 1


def test_a_fence_goes_with_what_stands_in_it() -> None:
    text = f"{ASKED}\n```python\n{lines_of(CODE[0])}\n```\nThanks!"
    assert fold_blocks(text) == FoldedText(f"{ASKED}\n.\nThanks!", has_code=True)
    prose = "One sentence of a letter.\n" * 30
    assert fold_blocks(f"{ASKED}\n```\n{prose}```") == FoldedText(f"{ASKED}\n.", has_code=False)


def test_prose_between_two_short_fences_is_no_block() -> None:
    text = "```\nx = 1\n```\n" + "A letter of many lines\n" * 30 + "```\ny = 2\n```"
    assert fold_blocks(text).text is text


@pytest.mark.parametrize("row", ["> a line of a letter", TABLE, "-rw-r--r-- 1 app app {n} a.tar"])
def test_quotes_and_tables_are_folded_and_are_no_code(row: str) -> None:
    rows = lines_of(row)
    assert fold_blocks(f"{ASKED}\n\n{rows}") == FoldedText(f"{ASKED}\n\n.", has_code=False)


def test_lines_of_no_form_among_code_do_not_end_a_block() -> None:
    """Two pieces of lines stand next to each other at the place where a text is cut."""
    code = lines_of(CODE[0], 15)
    text = f"{ASKED}\n\n{code}\nurn rows of\nhe file\n{code}"
    assert fold_blocks(text).text == f"{ASKED}\n\n."


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n".join([ASKED, lines_of(CODE[0], MIN_BLOCK_LINES - 1)]),
        lines_of(CODE[0]),
        lines_of(TABLE.replace("pod", "1").replace("Running", "2").replace("4d", "3")),
        "A letter of many lines.\nIt goes on.\n" * 20,
        f"{ASKED}\n" + "\n".join(f"{letter}. f(x);" for letter in "ABCDEFGHIJ" * 3),
        f"{ASKED}\n" + "    at com.example.Main.run(Main.java:12)\n" * 30,
        f"{ASKED}\n```\nTraceback (most recent call last):\n" + "x = f(1)\n" * 30 + "```",
    ],
    ids=["nothing", "short", "code alone", "figures alone", "prose", "options", "stack trace", "fenced trace"],
)  # fmt: skip
def test_other_text_is_left_as_it_is(text: str) -> None:
    """A short block, a block with nothing beside it, prose and stack traces stay."""
    folded = fold_blocks(text)
    if "Traceback" not in text:
        assert folded.text is text
    assert "Traceback" in folded.text or not folded.has_code


@pytest.mark.parametrize(
    "line", ["a = 1", "a: ", "  x", "a  b  c", "> x", "odd line", "```", "if x."]
)
@pytest.mark.parametrize("other", ["", "odd", "a = 1", "```"])
def test_it_is_linear(line: str, other: str) -> None:
    """Folding takes time linear in the number of lines, whatever the lines are."""
    text = f"{line}\n{other}\n" * 1_500
    began = time.process_time()
    fold_blocks(text)
    assert time.process_time() - began < 1
