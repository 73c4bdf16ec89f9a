"""No client of any dialect gets a recorded answer without its finish as a whole one."""

from collections import Counter

import pytest

from gateway.core.events import End, Finish
from gateway.dialects import DIALECTS, ResponseContext, Translation
from tests.corpus import asks, mutations
from tests.corpus.conftest import Say
from tests.corpus.oracle import Row

TELLING = ResponseContext(id="01", created_at=7, model="m", prompt_tokens=9, state_label="x")


@pytest.fixture(scope="module")
def rows(recordings: list[Row]) -> list[Row]:
    return [row for row in recordings if row.status == 200 and not row.raised]


@pytest.mark.parametrize("client", DIALECTS)
def test_an_answer_without_a_reason_for_its_end_is_never_told_whole(
    rows: list[Row], client: str, say: Say
) -> None:
    """Native and translated, whole and streamed."""
    told = Counter[str]()
    for row in rows:
        data = mutations.remove_finish(row)
        body, request = asks.client(row, DIALECTS[client])
        ours, door = DIALECTS[client], DIALECTS[row.dialect]
        voice = ours if client == row.dialect else Translation(ours, door, request, TELLING)
        if row.stream:
            watch = voice.inspect_stream(body)
            out = watch.feed(data) + watch.end()
            assert not watch.complete, row.id
            told["failed" if watch.problem or not watch.committed else "incomplete"] += 1
            speech = ours.translation
            assert speech is not None
            decoder = speech.make_decoder()
            events = [*decoder.feed(out), *decoder.end()]
            assert not any(isinstance(it, End | Finish) for it in events), row.id
        else:
            glance = voice.summarize(data)
            assert not glance.complete, row.id
            told["failed" if glance.problem else "incomplete"] += 1
            if glance.body is not None:
                assert not whole(client, glance.body), row.id
    say(f"{client}: {dict(told)}")
    assert told["incomplete"] > 1000


def whole(dialect: str, body: bytes) -> bool:
    """True if a translated answer says that it ended well."""
    speech = DIALECTS[dialect].translation
    assert speech is not None
    reasons = {it.reason for it in speech.decode_response(body) if isinstance(it, Finish)}
    return not reasons <= {"cut", "length"}
