"""What a decision reads of a call: plain numbers and flags, each read when first asked for."""

from gateway.core.call import Key, Steer
from gateway.core.prompt import Prompt
from gateway.core.turn import Turn
from gateway.dialects import Asked
from gateway.routing.signals import Scan, Signals

_BYTES_A_TOKEN = 4
"""Rough, over tokenisers and languages; sizes near a window are for the provider to judge."""


class Features:
    """A call as routing sees it. Token counts are estimates from lengths.

    What costs something to read is read when it is first asked for: a call that names its model, or
    that a rule decides by its tags, never has its text searched.
    """

    __slots__ = (
        "_scan",
        "_signals",
        "_user_tokens",
        "asked",
        "dialect",
        "key",
        "prompt",
        "steer",
        "turn",
    )

    def __init__(
        self, prompt: Prompt, dialect: str, key: Key, steer: Steer, asked: Asked | None = None
    ) -> None:
        self.prompt = prompt
        self.asked = asked
        self.dialect = dialect
        self.key = key
        self.steer = steer
        self.turn = Turn(
            conversation=steer.conversation or "",
            explicit=steer.conversation is not None,
            loop=prompt.tool_loop,
        )
        self._scan: Scan | None = None
        self._signals: Signals | None = None
        self._user_tokens: int | None = None

    @property
    def scan(self) -> Scan:
        """The words of the last user turn, for who asks for one thing that they give away."""
        if self._scan is None:
            self._scan = Scan(self.prompt.user)
        return self._scan

    @property
    def signals(self) -> Signals:
        """All that the words of the last user turn give away."""
        if self._signals is None:
            self._signals = self.scan.signals()
        return self._signals

    @property
    def user_tokens(self) -> int:
        """Of the last user turn."""
        if self._user_tokens is None:
            user = self.prompt.user
            size = len(user) if user.isascii() else len(user.encode("utf-8", "replace"))
            self._user_tokens = -(-size // _BYTES_A_TOKEN)
        return self._user_tokens

    @property
    def prompt_tokens(self) -> int:
        """Of all that the model reads."""
        return tokens(self.prompt)


def tokens(prompt: Prompt) -> int:
    """Of all that a model reads, estimated from its length."""
    return -(-prompt.chars // _BYTES_A_TOKEN)


def read(
    prompt: Prompt, dialect: str, key: Key, steer: Steer, asked: Asked | None = None
) -> Features:
    """The features of one call; without `asked` it is served in its own dialect alone."""
    return Features(prompt, dialect, key, steer, asked)
