"""Prompts that may be labelled: those of calls that the router decided, with kept text."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b

import click
import msgspec

from gateway.cli.ledger_session import LedgerPlace, open_ledger
from gateway.core import jsonio
from gateway.core.call import OPEN_KEY, Call, Key, RequestOptions
from gateway.core.decision_record import DecisionRecord
from gateway.core.errors import ProblemError
from gateway.core.ledger_rows import ANSWERED_STATES, FinalRow
from gateway.dialects import OPERATIONS, Dialect, RequestBody, TranslatableRequest
from gateway.evaluation.labelling import strata
from gateway.evaluation.labelling.stored_request import find_obstacle, find_path
from gateway.evaluation.labelling.strata import LabelCandidate
from gateway.ledger import transcripts
from gateway.ledger.query_params import LedgerQuery
from gateway.ledger.transcripts import Transcript
from gateway.routing.errors import ScoreError
from gateway.routing.features import Features
from gateway.routing.router import Router

LABEL_TAG = "label"
"""The tag of the calls that this command makes."""
_OWN_TAGS = frozenset({LABEL_TAG, "judge"})
"""Tags of calls that the gateway itself makes: they are no traffic."""
_PAGE_ROWS = 500
_MISSING_KEY = "its key is gone"


class StoredPrompt(msgspec.Struct, frozen=True):
    """A call of the ledger with its request, as it may be asked again."""

    row: FinalRow
    key: Key
    dialect: Dialect
    body: RequestBody
    features: Features

    @property
    def record(self) -> DecisionRecord:
        """The facts that the decision of the call rested on."""
        return self.row.basis or DecisionRecord()


class PromptStore:
    """The stored prompts of one tenant, and why other calls are left out."""

    def __init__(
        self, location: LedgerPlace, query: LedgerQuery, router: Router, keys: Mapping[str, Key]
    ) -> None:
        """`keys` are the keys of clients by name; empty if keys are open."""
        self._folder = location.content_folder
        self._router, self._keys = router, keys
        self.left_out: Counter[str] = Counter()
        """The number of calls that are no candidates, by the reason."""
        self.rows = {row.id: row for row in self._read_rows(location, query)}

    def _read_rows(self, location: LedgerPlace, query: LedgerQuery) -> Iterator[FinalRow]:
        with open_ledger(location) as store:
            if store is None:
                return
            cursor = None
            while rows := store.read_entries(
                **query.selection, zone=query.time_zone, after_cursor=cursor, limit=_PAGE_ROWS
            ):
                for row in rows:
                    reason = find_exclusion(row)
                    if not reason:
                        yield row
                    elif reason != LABEL_TAG:
                        self.left_out[reason] += 1
                cursor = rows[-1].cursor

    def list_candidates(self) -> list[LabelCandidate]:
        """Return the prompts that may be drawn. Calls with the same prompt are one."""
        candidates: dict[str, LabelCandidate] = {}
        textless = set(self.rows)
        for prompt in self._read_prompts(self.rows):
            textless.discard(prompt.row.id)
            digest = hash_prompt(prompt)
            known = candidates.get(digest)
            candidates[digest] = (
                LabelCandidate(
                    digest=digest, call=prompt.row.id, stratum=self._find_stratum(prompt)
                )
                if known is None
                else msgspec.structs.replace(known, calls=known.calls + 1)
            )
        self.left_out["no kept text"] += len(textless) - self._count_unread
        return [*candidates.values()]

    def find_prompts(self, ids: Iterable[str]) -> dict[str, StoredPrompt]:
        """Return the stored prompts of some calls, by the id of the call."""
        return {prompt.row.id: prompt for prompt in self._read_prompts({*ids})}

    def _read_prompts(self, ids: Iterable[str]) -> Iterator[StoredPrompt]:
        wanted, self._count_unread = {*ids}, 0
        if not self._folder.is_dir():
            return
        for transcript in transcripts.read_all(self._folder):
            if transcript.id not in wanted:
                continue
            wanted.discard(transcript.id)
            prompt = self._read_prompt(transcript, self.rows[transcript.id])
            if isinstance(prompt, str):
                self._count_unread += 1
                self.left_out[prompt] += 1
            else:
                yield prompt

    def _read_prompt(self, transcript: Transcript, row: FinalRow) -> StoredPrompt | str:
        """Return a call's prompt, or why it cannot be asked again."""
        key = self._keys.get(row.key) if self._keys else OPEN_KEY
        if key is None:
            return _MISSING_KEY
        if transcript.cut:
            return "a part of the text was not kept"
        dialect = OPERATIONS[row.dialect, "generate"]
        call = Call(
            id=row.id, dialect=dialect.name, operation=dialect.operation,
            body=transcript.prompt.encode(), path=find_path(dialect), received_at=row.at,
            started_at=0.0,
        )  # fmt: skip
        try:
            body = dialect.read_call(call)
        except ProblemError:
            return "redaction has changed the request"
        if obstacle := find_obstacle(body.prompt):
            return obstacle
        return StoredPrompt(row, key, dialect, body, self._build_features(row, key, dialect, body))

    def _build_features(
        self, row: FinalRow, key: Key, dialect: Dialect, body: RequestBody
    ) -> Features:
        """Return the features of the call as it was, for guards and the classifier."""
        record = row.basis or DecisionRecord()
        options = RequestOptions() if record.said is None else RequestOptions(tags=record.said.tags)
        request = TranslatableRequest(dialect, body, self._router.fetched_media)
        features = Features(body.prompt, dialect.name, key, options, request)
        if record.turn is not None:
            features.turn = record.turn
        return features

    def _find_stratum(self, prompt: StoredPrompt) -> str:
        classifier = self._router.find_classifier(prompt.key)
        if classifier is None:
            return strata.NO_SCORE
        try:
            return strata.name_stratum(prompt.features.score(classifier).fast)
        except ScoreError:
            return strata.NO_SCORE


def find_exclusion(row: FinalRow) -> str:
    """Return why a call is no user's turn that the router decided; empty if it is one.

    A call that the gateway made itself has the reason `label`.
    """
    record = row.basis
    if _OWN_TAGS.intersection(row.tags):
        return LABEL_TAG
    if row.state not in ANSWERED_STATES or record is None or record.operation != "generate":
        return "no answer, or no chat"
    turn = record.turn
    if record.tool_loop or (turn is not None and not turn.is_user_turn):
        return "in a tool loop"
    if turn is not None and turn.kind != "main":
        return "side calls"
    if row.source == "pin":
        return "the client chose its model"
    return ""


def hash_prompt(prompt: StoredPrompt) -> str:
    """Return a hash of a request: equal requests of a key and its tags are one prompt."""
    value = {name: item for name, item in prompt.body.value.items() if name not in _TRANSPORT}
    said = prompt.record.said
    identity = (prompt.row.dialect, prompt.key.name, () if said is None else said.tags, value)
    return blake2b(jsonio.dumps(identity), digest_size=16).hexdigest()


_TRANSPORT = frozenset({"stream", "stream_options", "user", "metadata", "prompt_cache_key"})
"""Members of a request that change nothing in its answer."""


def check_texts(location: LedgerPlace) -> None:
    """Raise click.ClickException if no texts are kept, and say what keeps them."""
    if not location.content_folder.is_dir():
        message = (
            "No prompts are kept, so there is nothing to label. Write `ledger: {content: on}` into"
            " the configuration, and let calls arrive."
        )
        raise click.ClickException(message)
