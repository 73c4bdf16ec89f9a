"""A provider's own bill of calls with tokens of all kinds equals what every interface tells."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.applications.modalities.calls import ModalityBench, running
from tests.applications.modalities.judge import judge
from tests.applications.modalities.models import MODELS
from tests.e2e.conftest import loop
from tests.e2e.world import Loop

__all__ = ["loop"]

CALLS = 400


@pytest.fixture(scope="module")
def bench(
    loop: Loop, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ModalityBench]:
    own_database = f"{redis_url[:-1]}7"  # counters of other tests are in the first one
    with running(loop, tmp_path_factory.mktemp("modalities"), own_database, seed=26) as made:
        made.run(CALLS)
        yield made


def test_every_interface_tells_what_the_provider_bills(bench: ModalityBench) -> None:
    """To the digit: headers, rows, sums, command, metrics, own usage, budgets, journal and store."""
    wrong = judge(bench)
    assert not wrong, "\n".join(wrong[:20])


def test_the_calls_are_of_all_kinds(bench: ModalityBench) -> None:
    """Each dialect calls each model, streamed and whole, and each part of each price is billed."""
    calls = [reply.call for reply in bench.replies]
    pairs = {(call.dialect, call.model.name, call.stream) for call in calls}
    assert len(pairs) == 4 * len(MODELS) * 2
    for model in MODELS:
        answers = [call.answered for call in calls if call.model is model]
        modalities = {kind for answered in answers for _, kind in +answered.tokens}
        assert modalities == {"text", *model.read, *model.made}, model.name
        parts = {part for answered in answers for part, _ in +answered.tokens}
        assert parts >= {"input", "output", *model.writes}, model.name
        assert {name for answered in answers for name in +answered.tools} == {*model.tools}
        assert {answered.service for answered in answers} == {None, *model.services}
    assert sum(call.usd is None for call in calls) > 10
    assert sum(call.model.states_bill for call in calls) > 10


def test_one_token_more_would_be_seen_everywhere(bench: ModalityBench) -> None:
    """The bill is held against each interface, and not against itself."""
    first = next(it for it in bench.replies if it.call.model.name == "sound-1" and it.call.key == "north")  # fmt: skip
    tokens = first.call.answered.tokens + Counter({("input", "text"): 1})
    more = replace(first.call.answered, tokens=tokens)
    changed = replace(first, call=replace(first.call, answered=more))
    replies = [changed if it is first else it for it in bench.replies]
    wrong = "\n".join(judge(replace(bench, replies=replies)))
    for place in ("the row has", "told", "/admin/costs", "/admin/series", "tiergate costs", "/v1/usage of north", "/metrics", "the journal", "the store"):  # fmt: skip
        assert place in wrong, place
