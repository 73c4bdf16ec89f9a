"""The features of a call that a decision reads: numbers and flags, each read on first use."""

from collections.abc import Container, Mapping
from functools import cached_property

from gateway.core.call import Key, RequestOptions
from gateway.core.conversation import ConversationTurn
from gateway.core.decision_context import Score
from gateway.core.owned_object import ObjectPlace
from gateway.core.prompt import Prompt
from gateway.core.target import Target
from gateway.core.turn_evidence import TurnEvidence
from gateway.dialects import TargetDialect, TranslatableRequest
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
"""The estimated bytes of a token, over all tokenisers and languages. The provider judges sizes near
a window."""


class Features:
    """A call as routing sees it. Token counts are estimates from lengths.

    The gateway reads expensive features only on first use. If a call names its model, or a rule
    decides it by its tags, the gateway never searches its text.
    """

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
        self.object_place: ObjectPlace | None = None
        """The provider account with the objects that the call names, such as files; None if it
        names none of its own."""
        self.has_text = bool(prompt.user)
        """True if the last user turn has text."""
        self.has_history = prompt.tool_loop or prompt.user_turns > 1
        """True if the model has answered before."""
        user = prompt.user
        byte_count = len(user) if user.isascii() else len(user.encode("utf-8", "replace"))
        self.user_tokens = -(-byte_count // _BYTES_PER_TOKEN)
        """The estimated tokens of the last user turn."""
        self.prompt_tokens = estimate_tokens(prompt)
        """The estimated tokens of all that the model reads."""
        self._language: Language | None = None
        self._evidence: tuple[TurnEvidence, ...] | None = None
        self._facts: RequestFacts | None = None
        self._scan: TextScan | None = None
        self._hits: tuple[Patterns, frozenset[int]] | None = None
        self.classifier_result: tuple[Classifier, Score | None, str] | None = None
        """The last classifier that was run, its score, and the kind of error if it failed."""
        self.translation_checks: dict[str, str] = {}
        """Why a target cannot serve the call in another dialect, or empty if it can; for each
        combination that was tried."""
        self.outcomes: dict[str, bool] = {}
        """The outcomes of tested rules that read what no row keeps, by the hash of the rule."""

    @property
    def is_searched(self) -> bool:
        """True if patterns were searched in the last user turn."""
        return self._hits is not None

    @property
    def is_scanned(self) -> bool:
        """True if the words of the last user turn were scanned."""
        return self._scan is not None

    @property
    def is_language_detected(self) -> bool:
        """True if the language of the last user turn was detected."""
        return self._language is not None

    @property
    def is_history_read(self) -> bool:
        """True if the evidence was read."""
        return self._evidence is not None

    @property
    def is_unread(self) -> bool:
        """True if nothing has read the last user turn."""
        return (
            self._scan is None
            and self._hits is None
            and self._language is None
            and self.classifier_result is None
            and not self.outcomes
        )

    def find_outcome(self, rule: str) -> bool | None:  # noqa: ARG002 - a row knows some
        """Return the recorded outcome of a rule, by its hash; None if the rule must be tested."""
        return None

    def match_patterns(self, patterns: Patterns) -> Container[int]:
        """Return the numbers of the patterns that the last user turn has."""
        if self._hits is None or self._hits[0] is not patterns:
            self._hits = patterns, patterns.search(self.prompt.user)
        return self._hits[1]

    def score(self, classifier: Classifier) -> Score:
        """Return a classifier's score of the last user turn.

        Raises ScoreError if the classifier fails.
        """
        if self.classifier_result is None or self.classifier_result[0] is not classifier:
            score, failure = None, ""
            try:
                score = classifier.score(self.prompt.user, self.signals)
            except Exception as error:  # noqa: BLE001 - whatever it does, a call is served
                failure = type(error).__name__
            self.classifier_result = classifier, score, failure
        _, score, failure = self.classifier_result
        if score is None:
            raise ScoreError(failure)
        return score

    @cached_property
    def signals(self) -> TextSignals:
        """The signals of the last user turn."""
        self._scan = scan_text(self.prompt.user)
        return self._scan.signals()

    @property
    def text(self) -> str:
        """The text of the last user turn."""
        return self.prompt.user

    @property
    def language(self) -> Language:
        """The language of the last user turn."""
        if self._language is None:
            scan = self._scan
            self._language = detect_language(self.prompt.user) if scan is None else scan.language
        return self._language

    @property
    def tools(self) -> int:
        """The number of offered tools with different names."""
        return len(set(self.prompt.tools))

    @cached_property
    def turn(self) -> ConversationTurn:
        """The place of the call in its conversation. Of a large request it takes long to read."""
        request = self.request
        start = None if request is None else request.client.read_start(request.body)
        return conversations.read(self.prompt, start, self.key, self.options, self.hints)

    @property
    def evidence(self) -> tuple[TurnEvidence, ...]:
        """The evidence against the last answer; a side call has none."""
        if self._evidence is None:
            self._evidence = self._find_evidence()
        return self._evidence

    @property
    def evidence_names(self) -> frozenset[str]:
        """The names of the evidence, as rules use them."""
        return frozenset([item.name for item in self.evidence])

    @property
    def facts(self) -> RequestFacts:
        """The facts of the request that only few rules read."""
        if self._facts is None:
            self._facts = EMPTY_FACTS if self.request is None else self.request.facts
        return self._facts

    def can_translate_to(self, dialect: TargetDialect) -> bool:
        """True if the call can be translated to another dialect."""
        return self.request is not None and self.request.can_translate_to(dialect)

    def translate_prompt(self, dialect: TargetDialect, target: Target) -> Prompt | str:
        """Return the prompt that a target of another dialect would get, or why it can get none."""
        return "" if self.request is None else self.request.translate_prompt(dialect, target)

    def find_media_problem(self, target: Target) -> str:
        """Return why a target that opens no URL cannot get the call's media; empty if it can."""
        return "" if self.request is None else self.request.find_media_problem(target)

    def _find_evidence(self) -> tuple[TurnEvidence, ...]:
        if self.request is None or not self.has_history or self.turn.kind == "side":
            return ()
        return turn_evidence.find_evidence(
            self.request.history, self.prompt.user, is_loop=self.turn.loop
        )


def estimate_tokens(prompt: Prompt) -> int:
    """Return the tokens of all that a model reads, estimated from the length."""
    return -(-prompt.chars // _BYTES_PER_TOKEN)


def read(
    prompt: Prompt,
    dialect: str,
    key: Key,
    options: RequestOptions,
    request: TranslatableRequest | None = None,
    hints: Mapping[str, str] = {},
) -> Features:
    """Return the features of one call; without `request` only its own dialect can serve it.

    `hints` are the headers that tell about the client, as `Call` has them.
    """
    return Features(prompt, dialect, key, options, request, hints)
