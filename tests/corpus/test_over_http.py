"""A part of the corpus over HTTP; `make law3` judges all of it."""

import random

from tests.corpus import mutations, over_http
from tests.corpus.conftest import Say
from tests.corpus.oracle import Row

SAMPLE_SIZE = 25
"""Number of exchanges, taken from those with an end."""


def test_official_sdks_get_what_the_provider_sent(recordings: list[Row], say: Say) -> None:
    rows = [*filter(mutations.can_mutate, recordings)]
    judged, unasked, failures = over_http.judge_rows(random.Random(7).sample(rows, SAMPLE_SIZE))
    say(f"{judged} answers over HTTP, {unasked} that a client cannot ask for")
    assert failures == []
    assert judged > 3 * SAMPLE_SIZE
