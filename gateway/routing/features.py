"""What a decision reads of a call: plain numbers and flags, read once."""

import functools

from gateway.core.call import Key, Steer
from gateway.core.prompt import Prompt
from gateway.routing import signals
from gateway.routing.signals import Signals

_BYTES_A_TOKEN = 4
"""Rough, over tokenisers and languages; sizes near a window are for the provider to judge."""


class Features:
    """A call as routing sees it. Token counts are estimates from lengths.

    What costs something to read is read when it is first asked for: a call that names its model, or
    that a rule decides by its tags, never has its text searched.
    """

    def __init__(self, prompt: Prompt, dialect: str, key: Key, steer: Steer) -> None:
        self.prompt = prompt
        self.dialect = dialect
        self.key = key
        self.steer = steer

    @functools.cached_property
    def signals(self) -> Signals:
        """What the words of the last user turn give away."""
        return signals.read(self.prompt.user)

    @functools.cached_property
    def user_tokens(self) -> int:
        """Of the last user turn."""
        return -(-len(self.prompt.user.encode("utf-8", "replace")) // _BYTES_A_TOKEN)

    @property
    def prompt_tokens(self) -> int:
        """Of all that the model reads."""
        return -(-self.prompt.chars // _BYTES_A_TOKEN)


def read(prompt: Prompt, dialect: str, key: Key, steer: Steer) -> Features:
    """The features of one call."""
    return Features(prompt, dialect, key, steer)
