"""What a decision reads of a call: plain numbers and flags, each read when first asked for."""

from collections.abc import Container, Mapping

from gateway.core.call import Key, RequestOptions
from gateway.core.conversation import ConversationTurn
from gateway.core.decision_context import Score
from gateway.core.prompt import Prompt
from gateway.core.target import Target
from gateway.dialects import Dialect, TranslatableRequest
from gateway.dialects.conversation_start import NOTHING, ConversationStart
from gateway.routing import conversation as turns
from gateway.routing.classifier.heuristic import Classifier
from gateway.routing.classifier.language import detect
from gateway.routing.classifier.scan import Seen, look
from gateway.routing.classifier.text_signals import TextSignals
from gateway.routing.errors import ScoreError
from gateway.routing.rules.patterns import Patterns
from gateway.settings.schema.rules import Language

_BYTES_A_TOKEN = 4
"""Rough, over tokenisers and languages; sizes near a window are for the provider to judge."""


class Features:
    """A call as routing sees it. Token counts are estimates from lengths.

    What costs something to read is read when it is first asked for: a call that names its model, or
    that a rule decides by its tags, never has its text searched.
    """

    __slots__ = (
        "_hits", "_language", "_opening", "_scan", "_scored", "_signals", "_turn", "_user_tokens",
        "asked", "dialect", "doors", "hints", "key", "outcomes", "prompt", "steer",
    )  # fmt: skip

    def __init__(
        self,
        prompt: Prompt,
        dialect: str,
        key: Key,
        steer: RequestOptions,
        asked: TranslatableRequest | None = None,
        hints: Mapping[str, str] = {},
    ) -> None:
        self.prompt = prompt
        self.asked = asked
        self.dialect = dialect
        self.key = key
        self.steer = steer
        self.hints = hints
        self._language: Language | None = None
        self._opening: ConversationStart | None = None
        self._scan: Seen | None = None
        self._signals: TextSignals | None = None
        self._turn: ConversationTurn | None = None
        self._user_tokens: int | None = None
        self._hits: tuple[Patterns, frozenset[int]] | None = None
        self._scored: tuple[Classifier, Score | None, str] | None = None
        self.doors: dict[str, str] = {}
        """Why a target cannot be asked this in another dialect, empty where it can, as far as that
        was tried."""
        self.outcomes: dict[str, bool] = {}
        """Of rules that read the text itself, by their hashes, as far as they were asked."""

    @property
    def has_text(self) -> bool:
        """Whether the last user turn has text."""
        return bool(self.prompt.user)

    @property
    def searched(self) -> bool:
        """Whether the last user turn has been searched for patterns."""
        return self._hits is not None

    @property
    def scanned(self) -> bool:
        """Whether the words of the last user turn have been looked at."""
        return self._scan is not None

    @property
    def detected(self) -> bool:
        """Whether the language of the last user turn has been looked for."""
        return self._language is not None

    @property
    def scored(self) -> bool:
        """Whether a classifier has been asked."""
        return self._scored is not None

    @property
    def unread(self) -> bool:
        """Whether nobody has looked at the last user turn at all."""
        return (
            self._scan is None
            and self._hits is None
            and self._language is None
            and self._scored is None
            and not self.outcomes
        )

    def outcome(self, rule: str) -> bool | None:  # noqa: ARG002 - a row knows some
        """Whether a rule holds, by its hash; None where it is to be asked."""
        return None

    def hits(self, patterns: Patterns) -> Container[int]:
        """The numbers of the patterns that the last user turn has."""
        if self._hits is None or self._hits[0] is not patterns:
            self._hits = patterns, patterns.search(self.prompt.user)
        return self._hits[1]

    def score(self, classifier: Classifier) -> Score:
        """What a classifier says of the last user turn. Raises ScoreError where it fails."""
        if self._scored is None or self._scored[0] is not classifier:
            self._scored = classifier, *self._asked(classifier)
        _, score, failed = self._scored
        if score is None:
            raise ScoreError(failed)
        return score

    @property
    def scan(self) -> Seen | TextSignals:
        """The words of the last user turn, for who asks for one thing that they give away."""
        return self._words()

    @property
    def signals(self) -> TextSignals:
        """All that the words of the last user turn give away."""
        if self._signals is None:
            self._signals = self._words().signals()
        return self._signals

    @property
    def text(self) -> str:
        """Of the last user turn."""
        return self.prompt.user

    @property
    def language(self) -> Language:
        """Of the last user turn."""
        if self._language is None:
            known = self._scan
            self._language = detect(self.prompt.user) if known is None else known.language
        return self._language

    @property
    def tools(self) -> int:
        """How many tools are offered, by their names."""
        return len(set(self.prompt.tools))

    @property
    def turn(self) -> ConversationTurn:
        """Where in its conversation it stands."""
        if self._turn is None:
            opening = self.opening
            self._turn = turns.read(self.prompt, opening, self.key, self.steer, self.hints)
        return self._turn

    @turn.setter
    def turn(self, turn: ConversationTurn) -> None:
        self._turn = turn

    @property
    def named(self) -> bool:
        """Whether its client has named the conversation: as its turn has it, for less."""
        if self._turn is not None:
            return self._turn.explicit
        return turns.named(self.opening, self.steer, self.hints)

    @property
    def opening(self) -> ConversationStart:
        """How the conversation begins."""
        if self._opening is None:
            self._opening = NOTHING if self.asked is None else self.asked.opening
        return self._opening

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

    def speaks(self, door: Dialect) -> bool:
        """Whether it can be said in another dialect at all."""
        return self.asked is not None and self.asked.speaks(door)

    def prompt_at(self, door: Dialect, target: Target) -> Prompt | str:
        """What a target of another dialect would be asked; or why it cannot be."""
        return "" if self.asked is None else self.asked.prompt(door, target)

    def closed(self, target: Target) -> str:
        """Why a target that opens no URL cannot be asked in the client's dialect; or empty."""
        return "" if self.asked is None else self.asked.closed(target)

    def _words(self) -> Seen:
        if self._scan is None:
            self._scan = look(self.prompt.user)
        return self._scan

    def _asked(self, classifier: Classifier) -> tuple[Score | None, str]:
        try:
            return classifier.score(self.prompt.user, self.signals), ""
        except Exception as error:  # noqa: BLE001 - whatever it does, a call is served
            return None, type(error).__name__


def tokens(prompt: Prompt) -> int:
    """Of all that a model reads, estimated from its length."""
    return -(-prompt.chars // _BYTES_A_TOKEN)


def read(
    prompt: Prompt,
    dialect: str,
    key: Key,
    steer: RequestOptions,
    asked: TranslatableRequest | None = None,
    hints: Mapping[str, str] = {},
) -> Features:
    """The features of one call; without `asked` it is served in its own dialect alone.

    `hints`: what its headers tell of the client, as `Call` has them.
    """
    return Features(prompt, dialect, key, steer, asked, hints)
