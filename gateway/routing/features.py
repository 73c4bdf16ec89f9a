"""What a decision reads of a call: plain numbers and flags, each read when first asked for."""

from collections.abc import Container, Mapping

from gateway.core.call import Key, RequestOptions
from gateway.core.conversation import ConversationTurn
from gateway.core.decision_context import Score
from gateway.core.prompt import Prompt
from gateway.core.target import Target
from gateway.core.turn_evidence import TurnEvidence
from gateway.dialects import Dialect, TranslatableRequest
from gateway.dialects.conversation_start import EMPTY_START, ConversationStart
from gateway.dialects.request_facts import EMPTY_FACTS, RequestFacts
from gateway.routing import conversation as conversations
from gateway.routing import turn_evidence
from gateway.routing.classifier.heuristic import Classifier
from gateway.routing.classifier.language import detect_language
from gateway.routing.classifier.scan import scan_text
from gateway.routing.classifier.text_signals import TextScan, TextSignals
from gateway.routing.errors import ScoreError
from gateway.routing.rules.patterns import Patterns
from gateway.settings.schema.rules import Language

_BYTES_PER_TOKEN = 4
"""Rough, over tokenisers and languages; sizes near a window are for the provider to judge."""


class Features:
    """A call as routing sees it. Token counts are estimates from lengths.

    What costs something to read is read when it is first asked for: a call that names its model, or
    that a rule decides by its tags, never has its text searched.
    """

    __slots__ = (
        "_classifier_result",
        "_conversation_start",
        "_evidence",
        "_facts",
        "_hits",
        "_language",
        "_scan",
        "_signals",
        "_turn",
        "_user_tokens",
        "dialect",
        "hints",
        "key",
        "options",
        "outcomes",
        "prompt",
        "request",
        "translation_checks",
    )  # fmt: skip

    def __init__(
        self,
        prompt: Prompt,
        dialect: str,
        key: Key,
        options: RequestOptions,
        request: TranslatableRequest | None = None,
        hints: Mapping[str, str] = {},
    ) -> None:
        self.prompt = prompt
        self.request = request
        self.dialect = dialect
        self.key = key
        self.options = options
        self.hints = hints
        self._language: Language | None = None
        self._conversation_start: ConversationStart | None = None
        self._evidence: tuple[TurnEvidence, ...] | None = None
        self._facts: RequestFacts | None = None
        self._scan: TextScan | None = None
        self._signals: TextSignals | None = None
        self._turn: ConversationTurn | None = None
        self._user_tokens: int | None = None
        self._hits: tuple[Patterns, frozenset[int]] | None = None
        self._classifier_result: tuple[Classifier, Score | None, str] | None = None
        self.translation_checks: dict[str, str] = {}
        """Why a target cannot be asked this in another dialect, empty where it can, as far as that
        was tried."""
        self.outcomes: dict[str, bool] = {}
        """Of rules that read what no row keeps, by their hashes, as far as they were asked."""

    @property
    def has_text(self) -> bool:
        """Whether the last user turn has text."""
        return bool(self.prompt.user)

    @property
    def is_searched(self) -> bool:
        """Whether the last user turn has been searched for patterns."""
        return self._hits is not None

    @property
    def is_scanned(self) -> bool:
        """Whether the words of the last user turn have been looked at."""
        return self._scan is not None

    @property
    def is_language_detected(self) -> bool:
        """Whether the language of the last user turn has been looked for."""
        return self._language is not None

    @property
    def is_scored(self) -> bool:
        """Whether a classifier has been asked."""
        return self._classifier_result is not None

    @property
    def has_history(self) -> bool:
        """True if the model has answered before."""
        return self.prompt.tool_loop or self.prompt.user_turns > 1

    @property
    def is_history_read(self) -> bool:
        """True if somebody has asked for the evidence."""
        return self._evidence is not None

    @property
    def is_unread(self) -> bool:
        """Whether nobody has looked at the last user turn at all."""
        return (
            self._scan is None
            and self._hits is None
            and self._language is None
            and self._classifier_result is None
            and not self.outcomes
        )

    def find_outcome(self, rule: str) -> bool | None:  # noqa: ARG002 - a row knows some
        """Whether a rule holds, by its hash; None where it is to be asked."""
        return None

    def match_patterns(self, patterns: Patterns) -> Container[int]:
        """The numbers of the patterns that the last user turn has."""
        if self._hits is None or self._hits[0] is not patterns:
            self._hits = patterns, patterns.search(self.prompt.user)
        return self._hits[1]

    def score(self, classifier: Classifier) -> Score:
        """What a classifier says of the last user turn. Raises ScoreError where it fails."""
        if self._classifier_result is None or self._classifier_result[0] is not classifier:
            self._classifier_result = classifier, *self._run_classifier(classifier)
        _, score, failure = self._classifier_result
        if score is None:
            raise ScoreError(failure)
        return score

    @property
    def scan(self) -> TextScan | TextSignals:
        """The words of the last user turn, for who asks for one thing that they give away."""
        return self._read_scan()

    @property
    def signals(self) -> TextSignals:
        """All that the words of the last user turn give away."""
        if self._signals is None:
            self._signals = self._read_scan().signals()
        return self._signals

    @property
    def text(self) -> str:
        """Of the last user turn."""
        return self.prompt.user

    @property
    def language(self) -> Language:
        """Of the last user turn."""
        if self._language is None:
            scan = self._scan
            self._language = detect_language(self.prompt.user) if scan is None else scan.language
        return self._language

    @property
    def tools(self) -> int:
        """How many tools are offered, by their names."""
        return len(set(self.prompt.tools))

    @property
    def turn(self) -> ConversationTurn:
        """Where in its conversation it stands."""
        if self._turn is None:
            conversation_start = self.conversation_start
            self._turn = conversations.read(
                self.prompt, conversation_start, self.key, self.options, self.hints
            )
        return self._turn

    @turn.setter
    def turn(self, turn: ConversationTurn) -> None:
        self._turn = turn

    @property
    def has_named_conversation(self) -> bool:
        """Whether its client has named the conversation: as its turn has it, for less."""
        if self._turn is not None:
            return self._turn.explicit
        return conversations.has_conversation_name(
            self.conversation_start, self.options, self.hints
        )

    @property
    def conversation_start(self) -> ConversationStart:
        """How the conversation begins."""
        if self._conversation_start is None:
            self._conversation_start = (
                EMPTY_START if self.request is None else self.request.conversation_start
            )
        return self._conversation_start

    @property
    def evidence(self) -> tuple[TurnEvidence, ...]:
        """The evidence against the last answer; a call beside the conversation has none."""
        if self._evidence is None:
            self._evidence = self._find_evidence()
        return self._evidence

    @property
    def evidence_names(self) -> frozenset[str]:
        """The names of it, as rules ask for them."""
        return frozenset([item.name for item in self.evidence])

    @property
    def facts(self) -> RequestFacts:
        """What few rules ask of the request."""
        if self._facts is None:
            self._facts = EMPTY_FACTS if self.request is None else self.request.facts
        return self._facts

    @property
    def user_tokens(self) -> int:
        """Of the last user turn."""
        if self._user_tokens is None:
            user = self.prompt.user
            byte_count = len(user) if user.isascii() else len(user.encode("utf-8", "replace"))
            self._user_tokens = -(-byte_count // _BYTES_PER_TOKEN)
        return self._user_tokens

    @property
    def prompt_tokens(self) -> int:
        """Of all that the model reads."""
        return estimate_tokens(self.prompt)

    def can_translate_to(self, dialect: Dialect) -> bool:
        """Whether it can be said in another dialect at all."""
        return self.request is not None and self.request.can_translate_to(dialect)

    def translate_prompt(self, dialect: Dialect, target: Target) -> Prompt | str:
        """What a target of another dialect would be asked; or why it cannot be."""
        return "" if self.request is None else self.request.translate_prompt(dialect, target)

    def find_media_problem(self, target: Target) -> str:
        """Why a target that opens no URL cannot be asked in the client's dialect; or empty."""
        return "" if self.request is None else self.request.find_media_problem(target)

    def _read_scan(self) -> TextScan:
        if self._scan is None:
            self._scan = scan_text(self.prompt.user)
        return self._scan

    def _find_evidence(self) -> tuple[TurnEvidence, ...]:
        if self.request is None or not self.has_history or self.turn.kind == "side":
            return ()
        return turn_evidence.find_evidence(
            self.request.history, self.prompt.user, is_loop=self.turn.loop
        )

    def _run_classifier(self, classifier: Classifier) -> tuple[Score | None, str]:
        try:
            return classifier.score(self.prompt.user, self.signals), ""
        except Exception as error:  # noqa: BLE001 - whatever it does, a call is served
            return None, type(error).__name__


def estimate_tokens(prompt: Prompt) -> int:
    """Of all that a model reads, estimated from its length."""
    return -(-prompt.chars // _BYTES_PER_TOKEN)


def read(
    prompt: Prompt,
    dialect: str,
    key: Key,
    options: RequestOptions,
    request: TranslatableRequest | None = None,
    hints: Mapping[str, str] = {},
) -> Features:
    """The features of one call; without `request` it is served in its own dialect alone.

    `hints`: what its headers tell of the client, as `Call` has them.
    """
    return Features(prompt, dialect, key, options, request, hints)
