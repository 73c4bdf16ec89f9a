"""The keys of a database, as a running gateway knows them.

A thread asks the database once a second whether a key has changed. While the database does not
answer, known keys stay valid for `keys.stale`; then the gateway refuses them, since it cannot know
whether they were revoked. A start without the database uses the last known copy, if it is younger.
"""

import math
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from threading import Event, Thread

from gateway.core.errors import Problem
from gateway.limits.errors import KeyStoreError, NewerKeyStoreError
from gateway.limits.key_store.last_copy import LastKeyCopy
from gateway.limits.key_store.store import (
    DatabaseCursor,
    KeyChanges,
    KeyDatabase,
    KeyRecord,
    parse_settings,
)
from gateway.limits.keys import KnownSecret, SecretTable, add_key
from gateway.settings.errors import ConfigError, Mistake
from gateway.telemetry.log import Log

POLL_SECONDS = 1.0
"""Seconds between two questions to the database."""
_RETRY_SECONDS = 5.0
"""Seconds after which a client may try again while nobody can check keys."""
_LATE_SECONDS = 10.0
"""Seconds without an answer after which the database counts as away."""


class FollowedKeys:
    """The secrets of a key database. `clock` is the time of day, `monotonic` never jumps."""

    def __init__(
        self,
        database: KeyDatabase,
        last_copy: LastKeyCopy,
        stale_seconds: float,
        log: Log,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the keys, or their last known copy. Raises KeyStoreError if neither can be used."""
        self._database = database
        self._last_copy = last_copy
        self._stale_seconds = stale_seconds
        self._log = log
        self._clock = clock
        self._monotonic = monotonic
        self._records: dict[str, KeyRecord] = {}
        self._secrets_by_name: dict[str, dict[bytes, KnownSecret]] = {}
        self._secrets: SecretTable = {}
        self._cursor: DatabaseCursor | None = None
        self._thread: Thread | None = None
        self._has_ended = False
        self._wake = Event()
        self._last_error = ""
        """The error of the last question; empty if the database has answered it."""
        self._copy_is_due_at = -math.inf
        self._confirmed_at = monotonic()
        """The moment at which the keys were last known to be current."""
        try:
            self._apply(database.read_changes(None))
        except NewerKeyStoreError:
            raise  # a start; a running gateway keeps its keys for `keys.stale` while others upgrade
        except KeyStoreError as error:
            self._use_copy(error)
        database.close()  # no connection may pass on to another process

    @property
    def secrets(self) -> SecretTable:
        """The last known secrets; another object after each change."""
        return self._secrets

    @property
    def failure(self) -> str:
        """The reason why the database does not answer; empty while it does."""
        if self._last_error:
            return self._last_error
        is_late = self._thread is not None and self.age > _LATE_SECONDS
        return "the key database: no answer" if is_late else ""

    @property
    def age(self) -> float:
        """Seconds since the keys were last known to be current."""
        return max(0.0, self._monotonic() - self._confirmed_at)

    @property
    def refusal(self) -> Problem | None:
        """The error for calls once the keys are stale; None before."""
        if self.age <= self._stale_seconds or not self.failure:
            return None
        message = (
            "The gateway cannot check keys now: its database of keys does not answer. Try again."
        )
        return Problem(
            kind="keys_unavailable",
            message=message,
            detail=f"{self.failure}; keys.stale is over",
            retry_after=_RETRY_SECONDS,
        )

    def describe_failure(self) -> str:
        """Return a sentence on a database that does not answer; empty while it does."""
        if not self.failure:
            return ""
        seconds = self._stale_seconds - self.age
        if seconds < 0:
            return "The database of keys does not answer, and keys.stale is over."
        end = datetime.fromtimestamp(self._clock() + seconds, UTC)
        return (
            "The database of keys does not answer; known keys are valid until "
            f"{end:%Y-%m-%d %H:%M:%S} UTC."
        )

    def start(self) -> None:
        """Begin to follow the database, in a thread that may wait for it as long as it likes."""
        self._thread = Thread(target=self._run, name="keys", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it, without a wait for a database that does not answer."""
        self._has_ended = True
        self._wake.set()

    def hurry(self) -> None:
        """Ask the database now: this gateway has just changed a key."""
        self._wake.set()

    def poll(self) -> None:
        """Ask the database for changes once. Never raises."""
        was_known = self._cursor is not None
        try:
            changes = self._read_changes()
            self._apply(changes)
        except Exception as error:  # noqa: BLE001 - the thread must not end
            reason = str(error) if isinstance(error, KeyStoreError) else type(error).__name__
            if not self._last_error:
                self._log("keys", error=reason, text="the database of keys does not answer")
            self._last_error = reason
            return
        if self._last_error:
            self._last_error = ""
            self._log("keys", text="the database of keys answers again")
        if changes is not None and was_known:
            self._log("keys", text=f"{len(changes.records)} changed in the database")
        self._keep_copy(is_changed=changes is not None)

    def _run(self) -> None:
        while not self._has_ended:
            self.poll()
            self._wake.wait(POLL_SECONDS)
            self._wake.clear()
        self._database.close()

    def _read_changes(self) -> KeyChanges | None:
        try:
            return self._database.read_changes(self._cursor)
        except KeyStoreError:
            # The server may have ended a kept connection, and answer on another.
            return self._database.read_changes(self._cursor)

    def _apply(self, changes: KeyChanges | None) -> None:
        """Note that the database has answered, and take what has changed."""
        if changes is not None:
            if changes.is_whole:
                self._records.clear()
                self._secrets_by_name.clear()
            self._take(changes.records)
            self._cursor = changes.cursor
        self._confirmed_at = self._monotonic()

    def _keep_copy(self, *, is_changed: bool) -> None:
        now = self._monotonic()
        if not is_changed and now < self._copy_is_due_at:
            return
        self._copy_is_due_at = now + self._last_copy.refresh_seconds
        try:
            self._last_copy.keep(list(self._records.values()), self._clock())
        except OSError as error:
            self._log("keys", error=error.strerror, file=str(self._last_copy.file))

    def _take(self, records: Sequence[KeyRecord]) -> None:
        """Replace the secrets of changed keys. A key that cannot be read opens nothing."""
        unknown_settings: set[str] = set()
        for record in records:
            secret_table, ignored = self._read_secrets(record)
            self._records[record.name] = record
            self._secrets_by_name[record.name] = secret_table
            unknown_settings.update(ignored)
        if unknown_settings:
            names = ", ".join(sorted(unknown_settings))
            self._log("keys", text=f"this version does not know these settings: {names}")
        table: dict[bytes, KnownSecret] = {}
        for name, known_secrets in self._secrets_by_name.items():
            for digest, known_secret in known_secrets.items():
                if table.setdefault(digest, known_secret) is not known_secret:
                    other = table[digest].key.name
                    self._log("keys", error=f"{name} has the same secret as {other}")
        self._secrets = table

    def _read_secrets(self, record: KeyRecord) -> tuple[dict[bytes, KnownSecret], list[str]]:
        """Return the secrets of a key, and the settings that this version does not know."""
        table: dict[bytes, KnownSecret] = {}
        try:
            part, ignored = parse_settings(record.settings)
            add_key(table, record.name, part, Mistake(file="", message=""))
        except KeyStoreError as error:
            reason = str(error)
        except ConfigError as error:
            reason = error.mistakes[0].message
        else:
            return table, ignored
        self._log("keys", error=f"{record.name} opens nothing: {reason}")
        return {}, []

    def _use_copy(self, error: KeyStoreError) -> None:
        """Use the last known copy. Raises KeyStoreError if it is missing or too old."""
        file, problem = self._last_copy.file, str(error)
        try:
            copy = self._last_copy.read()
        except OSError as copy_error:
            copy, problem = None, f"{problem}. {file} cannot be read: {copy_error.strerror}"
        if copy is None:
            message = f"{problem}. There is no last known copy in {file}"
            raise KeyStoreError(message) from None
        age = self._clock() - copy.confirmed
        if not 0 <= age <= self._stale_seconds:
            moment = datetime.fromtimestamp(copy.confirmed, UTC)
            message = (
                f"{problem}. The last known copy is of {moment:%Y-%m-%d %H:%M:%S} UTC, "
                "which is not within keys.stale"
            )
            raise KeyStoreError(message) from None
        self._confirmed_at = self._monotonic() - age
        self._last_error = str(error)
        self._take(copy.records)
        self._log("keys", error=str(error), text="uses the last known copy of the keys")
