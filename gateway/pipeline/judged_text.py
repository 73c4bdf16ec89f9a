"""Prepare the text of a turn for a model that helps to decide: without secrets, and cut.

Such a model sees the last user turn alone, whatever the original call sends to its own provider.
"""

from collections.abc import Sequence

from gateway.ledger.redaction import Redactor, redact_pem_blocks, redact_text
from gateway.routing.classifier.text_signals import HEAD_CHARS, MAX_CHARS

_MARGIN_CHARS = 4_096
"""Characters beside each cut that are redacted too, so that no secret loses the part by which it is
recognised. No key or token but a PEM block is as long, and those are redacted in the whole text."""
_TAIL_CHARS = MAX_CHARS - HEAD_CHARS


def prepare_judged_text(text: str, redactors: Sequence[Redactor] = ()) -> str:
    """Return at most 3,000 characters of a turn, without secrets: its beginning and its end.

    `redactors` strike out what the operator configures for the ledger. They read the whole text.
    The built-in patterns are slower, so they read what is near the characters that stay.
    """
    text = redact_pem_blocks(text)
    if redactors:
        data = text.encode(errors="replace")
        for redactor in redactors:
            data = redactor(data)
        text = data.decode(errors="replace")
    if len(text) <= MAX_CHARS + 2 * _MARGIN_CHARS:
        return _cut(redact_text(text))
    head = redact_text(text[: HEAD_CHARS + _MARGIN_CHARS])
    tail = redact_text(text[-_TAIL_CHARS - _MARGIN_CHARS :])
    return f"{head[: HEAD_CHARS - 1]}\n{tail[-_TAIL_CHARS:]}"


def _cut(text: str) -> str:
    """Return a text of which the middle is cut if it is longer than `MAX_CHARS`."""
    if len(text) <= MAX_CHARS:
        return text
    return f"{text[: HEAD_CHARS - 1]}\n{text[-_TAIL_CHARS:]}"
