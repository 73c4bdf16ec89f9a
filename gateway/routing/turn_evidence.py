"""Evidence against the model's last answer, from the history that a request has.

All evidence is the last answer or newer: the results of its tools, the user's reply, and its own
text. So no evidence counts for two turns. The limits below bound the texts that are read. Messages
are read from the newest on, only as far as a check needs.
"""

import re
from collections import Counter
from collections.abc import Iterator

from gateway.core import jsonio
from gateway.core.turn_evidence import TurnEvidence
from gateway.dialects.history import History, PastCall, PastMessage, PastResult
from gateway.routing import evidence_phrases, json_fit

_MIN_SAME_FAILURES = 2
"""The number of failures of one call with the same arguments that are evidence."""
_MIN_FAILED_STEPS = 3
"""The number of steps in a row, all of whose tools failed, that are evidence."""
_MAX_EARLIER_TURNS = 2
"""The number of user turns before the last one to read."""
_WISH_CHARS = 300
"""The number of characters of a user's text to search for a mention of JSON."""
MAX_REFUSAL_CHARS = 1_200
"""The maximum number of characters of a refusal: a longer answer also gives something useful."""
_MAX_COMPARED_CHARS = 2_000
"""The maximum number of characters of two different texts that may count as repeated."""
_MIN_REPEATED_WORDS = 4
"""The minimum number of words of a repeated text: `go on` and `yes, do it` are no questions."""
_MAX_ADDED_WORDS = 0.2
"""The maximum share of the longer text's words that the shorter one may lack."""
_MAX_ARGUMENT_CHARS = 4_000
"""The number of characters of arguments to compare; of longer ones, only the two ends."""

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")
"""A word, or a character of a script without spaces."""
_FAILURE_START = re.compile(
    r"\s*(?:<tool_use_error>|traceback \(most recent call last\)"
    r"|\{\s*\"(?:error|is_?error)\"\s*:\s*+(?!null|false|\"\"|\{\s*\})"
    r"|\{\s*\"(?:success|ok)\"\s*:\s*false"
    r"|(?:[\w.]*(?:error|exception)|fatal|failed|failure|permission denied|command not found)"
    r"\s*[:(\[]"
    r"|error (?:executing|running|while|calling|reading|writing|invoking|occurred)"
    r"|(?:failed to|unable to|could not|couldn't|cannot) \w"
    r"|(?:command|tool|call|request|test|build)s? (?:execution )?(?:failed|timed out)\b)",
    re.IGNORECASE,
)
"""The beginning of a failed tool's result, if its client does not report the failure."""
_FAILED_EXIT = re.compile(
    r"\b(?:exit(?:ed)?(?: with)?[ _-]?(?:code|status)|returncode)[\"']?\s*[:=]?\s*[1-9]"
    r"|\b[1-9]\d* failed\b",
    re.IGNORECASE,
)
"""The sign of a failed command, or of a failed test run, in its result."""
_JSON_START = re.compile(r"\s*(?:[{\[]|```)")
_JSON_WISH = re.compile(r"json|schema", re.IGNORECASE)

type Signature = tuple[str, str]
"""The name of a tool and its arguments, shortened."""


def find_evidence(history: History, user_text: str, *, is_loop: bool) -> tuple[TurnEvidence, ...]:
    """List the evidence against the last answer; `user_text` is the user's reply to it.

    If `is_loop` is True, no user speaks.
    """
    messages = iter(history.messages)
    results: list[PastResult] = []
    for message in messages:
        if message.speaker == "assistant":
            break
        results = [*message.results, *results]
    else:
        return ()
    if results:
        failures = _find_failures(_Step(results, [*message.calls]), messages)
        if failures is not None:
            return (failures,)
    if is_loop:
        return ()
    past = _Past(message, messages)
    findings = (
        _find_question_again(user_text, past),
        _find_refusal(past.answer),
        _find_bad_json(user_text, past, history) if history.wants_json else None,
    )
    return tuple([finding for finding in findings if finding is not None])


class _Step:
    """The tools that the model called at once, and their results."""

    __slots__ = ("calls", "failed_ids", "results")

    def __init__(self, results: list[PastResult], calls: list[PastCall]) -> None:
        self.results, self.calls = results, calls
        self.failed_ids = {result.id for result in results if _has_failed(result)}

    @property
    def has_failed(self) -> bool:
        """True if all of its tools failed."""
        return all(result.id in self.failed_ids for result in self.results)

    def list_failed_calls(self) -> set[Signature]:
        """Return the failed calls of the step."""
        return {_sign(call) for call in self.calls if call.id in self.failed_ids}


def _find_failures(last_step: _Step, messages: Iterator[PastMessage]) -> TurnEvidence | None:
    """Find a call that failed repeatedly, or several failed steps in a row."""
    if not last_step.failed_ids:
        return None
    failure_counts: Counter[Signature] = Counter()
    last_failures: set[Signature] | None = None
    failed_steps, is_unbroken = 0, True
    for step in _read_steps(last_step, messages):
        failures = step.list_failed_calls()
        last_failures = failures if last_failures is None else last_failures
        failure_counts.update(failures & last_failures)
        is_unbroken = is_unbroken and step.has_failed
        failed_steps += is_unbroken
    same_failures = max(failure_counts.values(), default=0)
    if same_failures >= _MIN_SAME_FAILURES:
        reason = f"the same tool call failed {same_failures} times"
    elif failed_steps >= _MIN_FAILED_STEPS:
        reason = f"tools failed {failed_steps} times in a row"
    else:
        return None
    return TurnEvidence("repeated_failure", reason)


def _read_steps(last_step: _Step, messages: Iterator[PastMessage]) -> Iterator[_Step]:
    """Yield the steps of the tool loop, from the last one back to a user's words."""
    results: list[PastResult] = []
    step = last_step
    for message in messages:
        if message.speaker == "user":
            if message.text:
                break
            results = [*message.results, *results]
            continue
        if results:
            yield step
            step, results = _Step(results, []), []
        step.calls += message.calls
    yield step


def _sign(call: PastCall) -> Signature:
    arguments = call.arguments
    text = arguments if isinstance(arguments, str) else jsonio.dumps(arguments).decode()
    if len(text) > _MAX_ARGUMENT_CHARS:
        half = _MAX_ARGUMENT_CHARS // 2
        text = f"{len(text)} {text[:half]} {text[-half:]}"
    return call.name, text


def _has_failed(result: PastResult) -> bool:
    """True if a tool failed, by its client's report or by the text of its result."""
    if result.failed is not None:
        return result.failed
    text = result.text
    return _FAILURE_START.match(text) is not None or _FAILED_EXIT.search(text) is not None


class _Past:
    """The last answer of the model, and the messages before it, the newest first."""

    __slots__ = ("answer", "earlier_answers", "user_texts")

    def __init__(self, last_message: PastMessage, messages: Iterator[PastMessage]) -> None:
        self.answer = last_message
        self.user_texts: list[str] = []
        self.earlier_answers: list[str] = []
        is_answer_open = True
        for message in messages:
            if message.speaker == "user":
                is_answer_open = False
                self.user_texts += [message.text] if message.text else []
                if len(self.user_texts) == _MAX_EARLIER_TURNS:
                    break
            elif is_answer_open:
                self.answer = _join(message, self.answer)
            else:
                self.earlier_answers.append(message.text)


def _join(earlier: PastMessage, later: PastMessage) -> PastMessage:
    """Join two parts of one answer."""
    return PastMessage(
        speaker="assistant",
        text=earlier.text + later.text,
        is_cut=earlier.is_cut or later.is_cut,
        is_refusal=earlier.is_refusal or later.is_refusal,
        calls=earlier.calls + later.calls,
    )


def _find_question_again(user_text: str, past: _Past) -> TurnEvidence | None:
    """Find a user who repeats the question, or says that the answer was bad."""
    if evidence_phrases.is_complaint(user_text):
        return TurnEvidence("asked_again", "the user says that the answer was bad")
    earlier_question = next(filter(_is_question, past.user_texts), "")
    if _is_repeated(user_text, earlier_question):
        return TurnEvidence("asked_again", "the user asks again")
    return None


def _is_question(text: str) -> bool:
    """True if a user's text has enough words to count; `no` and `try again` have not."""
    return _count_words(text[:_MAX_COMPARED_CHARS]).total() >= _MIN_REPEATED_WORDS


def _is_repeated(text: str, earlier_text: str) -> bool:
    """True if two texts have the same words, or one of them has a few more."""
    if max(len(text), len(earlier_text)) > _MAX_COMPARED_CHARS:
        return text == earlier_text
    words, earlier_words = _count_words(text), _count_words(earlier_text)
    shorter, longer = sorted((words, earlier_words), key=Counter.total)
    return (
        shorter.total() >= _MIN_REPEATED_WORDS
        and longer.total() - shorter.total() <= _MAX_ADDED_WORDS * longer.total()
        and shorter <= longer
        and not evidence_phrases.asks_for_more(text)
    )


def _count_words(text: str) -> Counter[str]:
    return Counter(_WORD.findall(text.casefold()))


def _find_refusal(answer: PastMessage) -> TurnEvidence | None:
    """Find an answer in which the model declined, by its provider's mark or by how it begins."""
    is_refusal = answer.is_refusal or (
        len(answer.text) <= MAX_REFUSAL_CHARS and evidence_phrases.is_refusal(answer.text)
    )
    return TurnEvidence("refusal", "the model declined to answer") if is_refusal else None


def _find_bad_json(user_text: str, past: _Past, history: History) -> TurnEvidence | None:
    """Find an answer that is not the JSON that the request asks for.

    A plain-text answer is no evidence if nothing else is about JSON: it answered another request.
    """
    answer = past.answer
    if not answer.text.strip() or answer.is_cut or answer.calls:
        return None
    texts = (answer.text, *past.earlier_answers)
    is_about_json = any(map(_JSON_START.match, texts)) or _JSON_WISH.search(
        user_text, 0, _WISH_CHARS
    )
    if not is_about_json or json_fit.fits(answer.text, history.schema):
        return None
    return TurnEvidence("invalid_json", "the last answer is not the JSON that was asked for")
