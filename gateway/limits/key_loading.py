"""Open what `keys` of a configuration names: the table of keys, and the store for changes."""

from collections.abc import Mapping
from pathlib import Path

from gateway.limits import keys
from gateway.limits.errors import KeyStoreError, NewerKeyStoreError
from gateway.limits.key_file import KeyFile
from gateway.limits.key_store.followed_keys import FollowedKeys
from gateway.limits.key_store.last_copy import LastKeyCopy
from gateway.limits.key_store.store import (
    KeyDatabase,
    find_database_file,
    is_database,
    open_database,
)
from gateway.limits.keys import KeyTable
from gateway.settings.data_folder import SQLITE_SCHEME, resolve_store_url
from gateway.settings.errors import ConfigError
from gateway.settings.loader import ConfigSource
from gateway.state.audit import AuditLog, AuditRows
from gateway.telemetry.log import Log, ignore_event

COPY_NAME = "known_keys.jsonl"
"""The last known copy of a key database, in the data folder."""
_MAX_REFRESH_SECONDS, _REFRESHES_PER_STALE = 60.0, 4


def load_key_table(
    source: ConfigSource,
    data: Path,
    environ: Mapping[str, str],
    *,
    log: Log = ignore_event,
    creates: bool = False,
) -> KeyTable:
    """Read the keys of clients as a gateway does; `data` is the data folder.

    With `creates`, make the tables that a key database lacks. If a key database does not answer,
    take its last known copy. Raises ConfigError.
    """
    part, followed_keys = source.config.keys, None
    if is_database(part.store):
        _check_file(source, data)
        refresh_seconds = min(_MAX_REFRESH_SECONDS, part.stale / _REFRESHES_PER_STALE)
        try:
            followed_keys = FollowedKeys(
                open_database(part.store, data, creates=creates, keeps_connection=True),
                LastKeyCopy(data / COPY_NAME, part.store, refresh_seconds),
                part.stale,
                log,
            )
        except KeyStoreError as error:
            is_newer = isinstance(error, NewerKeyStoreError)
            hint = "" if is_newer else "Start the database, or check its URL in `keys`."
            raise ConfigError([source.make_mistake(("keys",), f"{error}.", hint)]) from None
    extra = environ.get("TIERGATE_KEYS", "")
    return keys.load(part.store, source.file.parent, extra, database=followed_keys, log=log)


def open_key_store(source: ConfigSource, data: Path) -> KeyFile | KeyDatabase | None:
    """Return the store for changes of keys; None if keys are open. Raises ConfigError."""
    setting = source.config.keys.store
    if setting == "open":
        return None
    if not is_database(setting):
        return KeyFile(source.file.parent / setting, AuditLog(data))
    _check_file(source, data)
    try:
        return open_database(setting, data)
    except KeyStoreError as error:
        raise ConfigError([source.make_mistake(("keys",), f"{error}.")]) from None


def list_audit_places(audit: AuditLog, key_store: KeyFile | KeyDatabase | None) -> list[AuditRows]:
    """Return the places of rows: the file of the audit, and the key database if there is one."""
    if key_store is None or isinstance(key_store, KeyFile):
        return [audit]
    return [audit, key_store]


def _check_file(source: ConfigSource, data: Path) -> None:
    """Refuse the ledger's file: the gateway replaces it if it is damaged. Raises ConfigError."""
    file = find_database_file(source.config.keys.store, data)
    if file is None:
        return
    ledger_url = resolve_store_url(source.config.ledger.store, data)
    if file.name in ("", ":memory:") or file.absolute() == data.absolute():
        message = f"a database of keys is written {SQLITE_SCHEME}keys.db."
        raise ConfigError([source.make_mistake(("keys",), message)])
    if ledger_url == f"{SQLITE_SCHEME}{file}":
        message = "is the file of the ledger, which the gateway makes anew if it is damaged."
        hint = f"Name another: {SQLITE_SCHEME}keys.db."
        raise ConfigError([source.make_mistake(("keys",), message, hint)])
