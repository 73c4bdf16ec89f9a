"""Every recorded stream, cut in its middle, is gone on with from itself and from nothing else."""

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.core import sse
from gateway.core.events import End
from gateway.dialects import DIALECTS, splice

_MADE = re.compile(rb'"created(_at)?":\d+,')
"""Some hosts tell another time in each frame."""
KINDS = {
    "chat_completions": "openai-chat",
    "responses": "openai-responses",
    "messages": "anthropic-messages",
    "generate_content": "gemini",
}
"""What the files of a corpus hold, and the dialect that is."""


def streams(corpus: Path, name: str) -> Iterator[bytes]:
    for path in sorted((corpus / "recorded").glob("*.jsonl.gz")):
        kind = path.name.split("__")[1]
        if next((it for word, it in KINDS.items() if word in kind), None) != name:
            continue
        with gzip.open(path, "rt", encoding="utf-8", errors="surrogatepass") as rows:
            for row in map(json.loads, rows):
                if row["response"]["body_kind"] == "sse" and row["response"]["status"] == 200:
                    yield (row["response"]["body"] or "").encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("name", KINDS.values())
def test_a_recorded_stream_goes_on_where_it_was_cut(corpus: Path, name: str) -> None:
    """Folded it says what it said; one that is not whole is gone on with by nobody."""
    dialect, many = DIALECTS[name], 0
    assert dialect.speech is not None
    for body in streams(corpus, name):
        decoder = dialect.speech.decoder()
        events = [*decoder.feed(body), *decoder.end()]
        frames = sse.frames(body)
        shown = b"".join(frames[: max(1, len(frames) // 2)])
        rest = splice.rest(dialect, shown, body)
        if not events or not isinstance(events[-1], End):
            assert rest is None
            continue
        many += 1
        assert rest is not None
        assert _MADE.sub(b"", dialect.fold(shown + rest)) == _MADE.sub(b"", dialect.fold(body))
    assert many > 20
