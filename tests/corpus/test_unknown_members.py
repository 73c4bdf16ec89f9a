"""Recorded answers have next to nothing that no list has: what `doctor --live` tells is news."""

from gateway.core import jsonio, sse
from gateway.dialects import DIALECTS
from gateway.dialects.member_list import find_unknown_members
from gateway.dialects.translation import get_translation
from tests.corpus.conftest import Say
from tests.corpus.oracle import Row

MAX_SHARE = 0.04
"""Share of the answers that may have a member or an event that no list has."""


def list_unknown(row: Row) -> set[str]:
    """List the unknown members and events of an answer."""
    members = get_translation(DIALECTS[row.dialect]).answer_members
    frames = map(sse.read_data, sse.split_frames(row.body)) if row.stream else [row.body]
    names: set[str] = set()
    for frame in frames:
        try:
            value = jsonio.loads(frame)
        except jsonio.JsonError:
            continue
        names.update(find_unknown_members(value, members, "event" if row.stream else "answer"))
    return names


def test_few_recorded_answers_have_something_unknown(recordings: list[Row], say: Say) -> None:
    answers = [row for row in recordings if row.status == 200]
    unknown = {row.id: names for row in answers if (names := list_unknown(row))}
    say(f"{len(unknown)} of {len(answers)} recorded answers have something that no list has")
    assert len(unknown) <= MAX_SHARE * len(answers), unknown
