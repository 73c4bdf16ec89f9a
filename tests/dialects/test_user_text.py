"""The gateway distinguishes a person's words from text that agents add in the person's name."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.user_text import UserText, extract_typed

REMIND = "<system-reminder>\nBe brief.\n</system-reminder>"
AGENTS_MD = "# AGENTS.md instructions for /work\n\n<INSTRUCTIONS>\nBe nice.\n</INSTRUCTIONS>"
PLACE = "<environment_context>\n  <cwd>/work</cwd>\n</environment_context>"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Fix it.", "Fix it."),
        ("if a < b and b > c", "if a < b and b > c"),
        (f"{REMIND}\nFix it.", "Fix it."),
        (f"Fix it.\n\n{REMIND}\n\nPlease.\n{REMIND}", "Fix it.\n\n\n\nPlease."),
        (REMIND, ""),
        ('<skill name="x">\nY\n</skill> Go', "Go"),
        ("<system-reminder> is what I ask about", "<system-reminder> is what I ask about"),
        (f"<system-reminder> never closed, {PLACE} twice <system-reminder>", "<system-reminder> never closed,  twice <system-reminder>"),
        ("<system-reminder>a <system-reminder>b</system-reminder> Go", "Go"),
        ("<systematic>kept</systematic>", "<systematic>kept</systematic>"),
        (AGENTS_MD, ""),
        ("<task>\nAdd a test.\n</task>\n<environment_details>\n# Files\n</environment_details>", "Add a test."),
        ("<feedback>No.</feedback>", "No."),
        ("[read_file for 'a.py'] Result:", ""),
        ("[execute_command] Result:\nok", ""),
        ("[1] Result of it", "[1] Result of it"),
        ("[Request interrupted by user for tool use]", ""),
        ("This session is being continued from a previous conversation that ran out of context.", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_the_gateway_extracts_the_words_of_a_person(text: str, words: str) -> None:
    """Agents' blocks go, wherever they stand; text that only looks similar stays."""
    assert extract_typed(text) == words


def read_turns(*turns: list[str]) -> UserText:
    user_text = UserText()
    for texts in turns:
        user_text.add_turn(texts)
    user_text.close()
    return user_text


@pytest.mark.parametrize(
    ("turns", "words", "count", "aside"),
    [
        ([["a"], ["b", "c"]], "b\nc", 2, ""),
        ([[AGENTS_MD], [PLACE], ["Say hi"]], "Say hi", 1, ""),
        ([["a"], [REMIND]], "a", 1, REMIND),
        ([["a"], ["[ls] Result:", "x"]], "x", 2, ""),
        ([["a"], ["[ls] Result:"]], "a", 1, "[ls] Result:"),
        ([[PLACE], [REMIND]], PLACE, 1, ""),
        ([[REMIND, "a"]], "a", 1, ""),
        ([[f"{REMIND} a"]], "a", 1, ""),
        ([["a"], []], "", 2, ""),
        ([[" "]], " ", 1, ""),
        ([], "", 0, ""),
    ],
)
def test_only_turns_of_a_person_are_counted(
    turns: list[list[str]], words: str, count: int, aside: str
) -> None:
    """A turn without text, such as an image, is a person's.

    Without any person the first turn counts.
    """
    user_text = read_turns(*turns)
    assert (user_text.text, user_text.turn_count, user_text.injected_text) == (words, count, aside)


def test_a_tool_result_is_no_turn_but_text_typed_beside_it_is() -> None:
    user_text = read_turns(["a"])
    assert not user_text.add_turn([REMIND], has_tool_result=True)
    assert (user_text.turn_count, user_text.injected_text) == (1, REMIND)
    assert not user_text.add_turn([], has_tool_result=True)
    assert user_text.injected_text == ""
    assert user_text.add_turn(["b", REMIND], has_tool_result=True)
    user_text.close()
    assert (user_text.turn_count, user_text.text) == (2, "b")
    assert not user_text.add_turn([REMIND])
    user_text.add_answer()
    assert user_text.injected_text == ""


PIECES = st.sampled_from(["<system-reminder>", "</system-reminder>", "<skill>", "<task>", "a", " ", "<", "[x] Result:", "é"])  # fmt: skip


@given(st.lists(PIECES).map("".join))
def test_extracting_typed_text_adds_nothing(text: str) -> None:
    """For any text, no character is made up, and a second reading gives the same words."""
    words = extract_typed(text)
    assert len(words) <= len(text)
    assert set(words) <= set(text)


def test_unclosed_agent_tags_take_linear_time() -> None:
    """The search goes once for each name over a million characters of blocks that never close."""
    text = "<system-reminder><skill><environment_context>" * 25_000
    before = time.process_time()
    assert extract_typed(text) == text
    assert time.process_time() - before < 5.0, "quadratic, it would take minutes"


@given(
    st.text(max_size=40)
    | st.builds(
        str.__add__,
        st.sampled_from(
            [REMIND, AGENTS_MD, "[Request interrupted by user", " Go", "\x85x", "(0) y"]
        ),
        st.text(max_size=8),
    )
)
def test_a_turn_of_one_text_reads_as_any_other_turn(text: str) -> None:
    """The short path for most turns gives the same as the long one."""
    short, long = UserText(), UserText()
    for _ in range(2):
        assert short.add_text(text) == long.add_turn([text])
        assert short == long
    short.close()
    long.close()
    assert (short.turn_count, short.injected_text, short.text) == (
        long.turn_count,
        long.injected_text,
        long.text,
    )
