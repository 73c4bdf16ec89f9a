"""No client of any dialect gets a recorded answer without its finish as a whole one."""

from collections import Counter

import pytest

from gateway.core.events import End, Finish
from gateway.dialects import DIALECTS, ResponseContext, Translation
from tests.corpus import mutations, translated_requests
from tests.corpus.conftest import Say
from tests.corpus.oracle import Row

CONTEXT = ResponseContext(id="01", created_at=7, model="m", prompt_tokens=9, state_label="x")


@pytest.fixture(scope="module")
def rows(recordings: list[Row]) -> list[Row]:
    return [row for row in recordings if row.status == 200 and not row.raised]


@pytest.mark.parametrize("client", DIALECTS)
def test_no_client_gets_an_answer_without_a_finish_as_a_whole_one(
    rows: list[Row], client: str, say: Say
) -> None:
    """Native and translated, whole and streamed."""
    counts = Counter[str]()
    for row in rows:
        data = mutations.remove_finish(row)
        body, request = translated_requests.make_client_request(row, DIALECTS[client])
        client_dialect, provider_dialect = DIALECTS[client], DIALECTS[row.dialect]
        adapter = (
            client_dialect
            if client == row.dialect
            else Translation(client_dialect, provider_dialect, request, CONTEXT)
        )
        if row.stream:
            inspector = adapter.inspect_stream(body)
            out = inspector.feed(data) + inspector.end()
            assert not inspector.complete, row.id
            counts["failed" if inspector.problem or not inspector.committed else "incomplete"] += 1
            functions = client_dialect.translation
            assert functions is not None
            decoder = functions.make_decoder()
            events = [*decoder.feed(out), *decoder.end()]
            assert not any(isinstance(event, End | Finish) for event in events), row.id
        else:
            summary = adapter.summarize(data)
            assert not summary.complete, row.id
            counts["failed" if summary.problem else "incomplete"] += 1
            if summary.body is not None:
                assert not ends_well(client, summary.body), row.id
    say(f"{client}: {dict(counts)}")
    assert counts["incomplete"] > 1000


def ends_well(dialect: str, body: bytes) -> bool:
    """True if a translated answer says that it ended well."""
    functions = DIALECTS[dialect].translation
    assert functions is not None
    reasons = {
        event.reason for event in functions.decode_response(body) if isinstance(event, Finish)
    }
    return not reasons <= {"cut", "length"}
