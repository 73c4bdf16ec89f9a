"""What a decision reads of a call: plain numbers and flags, read once."""

import msgspec

from gateway.core.call import Key, Steer
from gateway.core.prompt import Prompt
from gateway.routing import signals
from gateway.routing.signals import Signals

_BYTES_A_TOKEN = 4
"""Rough, over tokenisers and languages; sizes near a window are for the provider to judge."""


class Features(msgspec.Struct, frozen=True, kw_only=True):
    """A call as routing sees it. Token counts are estimates from lengths."""

    prompt: Prompt
    signals: Signals
    user_tokens: int
    """Of the last user turn."""
    prompt_tokens: int
    """Of all that the model reads."""
    dialect: str
    key: Key
    steer: Steer


def read(prompt: Prompt, dialect: str, key: Key, steer: Steer) -> Features:
    """Read the features of one call."""
    return Features(
        prompt=prompt,
        signals=signals.read(prompt.user),
        user_tokens=-(-len(prompt.user.encode("utf-8", "replace")) // _BYTES_A_TOKEN),
        prompt_tokens=-(-prompt.chars // _BYTES_A_TOKEN),
        dialect=dialect,
        key=key,
        steer=steer,
    )
