"""A part of the corpus over HTTP; `make law3` does all of it."""

import random
from pathlib import Path

from tests.corpus import mutations, over_http
from tests.corpus.conftest import Say
from tests.corpus.oracle import read

SOME = 30
"""Exchanges of those that end."""


def test_official_sdks_at_a_gateway_get_what_the_provider_said(corpus: Path, say: Say) -> None:
    rows = [row for row in read(corpus) if mutations.can_mutate(row)]
    judged, unasked, failures = over_http.judge_rows(random.Random(7).sample(rows, SOME))
    say(f"{judged} answers over HTTP, {unasked} that a client cannot ask for")
    assert failures == []
    assert judged > 3 * SOME
