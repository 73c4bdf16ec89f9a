"""The work on client keys: what commands, /admin/keys and the dashboard share.

Nothing here returns a hash, and a secret is returned once, by the change that makes it.
"""

import hashlib
import re
import secrets
import socket
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from pydantic import TypeAdapter, ValidationError

from gateway.core.target import TIERS
from gateway.limits.errors import KeyChangeError, KeyStoreError
from gateway.limits.key_store.store import (
    ChangeKey,
    KeyRecord,
    KeySettings,
    KeyStore,
    parse_settings,
)
from gateway.limits.keys import KeyLimitPart, KeyPart, parse_time
from gateway.settings.errors import suggest_name
from gateway.settings.schema.base import Duration
from gateway.state.audit import AuditRow, AuditSource

_SECRET_BITS = 256
_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_UNIT_BY_SECONDS = {1.0: "s", 60.0: "m", 3_600.0: "h", 86_400.0: "d"}
_HASH_PATTERN = re.compile("[0-9a-f]{64}")
_HINTS_BY_FIXED_SETTING = {
    "sha256": "Rotate the key to give it another secret.",
    "earlier": "Rotate the key: it sets them.",
    "revoked": "Revoke the key in place of it.",
}
"""Hints in place of a change to a setting that other acts set."""

type KeyState = Literal["live", "expired", "revoked", "invalid"]


class KnownNames(NamedTuple):
    """The names of a configuration that keys may use."""

    labs: Collection[str]
    regions: Collection[str]


class NewSecret(NamedTuple):
    """A key with the secret that it has just got."""

    record: KeyRecord
    secret: str | None
    """The only copy; None if the caller has brought a hash."""


type KeyAct = Literal["create", "change", "rotate", "revoke"]


def ignore_row(_: AuditRow) -> None:
    """Note nothing."""


class KeyAdmin:
    """Changes the keys of a store, and lists them.

    `clock` returns seconds since the epoch, `random_bytes` random bytes. `note` gets the row of
    the audit for each change that was made through `via`.
    """

    def __init__(
        self,
        store: KeyStore,
        *,
        clock: Callable[[], float],
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        names: KnownNames | None = None,
        no_limits_reason: str = "",
        via: AuditSource = "cli",
        note: Callable[[AuditRow], object] = ignore_row,
    ) -> None:
        """Without `names`, keys may name any lab and region.

        `no_limits_reason` says why no key may get limits or budgets; empty if they may.
        """
        self.store = store
        self._clock = clock
        self._random_bytes = random_bytes
        self._names = names
        self._no_limits_reason = no_limits_reason
        self._via = via
        self._note = note

    def list_keys(self) -> list[KeyRecord]:
        """Return all keys. Raises what the store does."""
        return list(self.store.read().values())

    def get(self, name: str) -> KeyRecord:
        """Return one key. Raises KeyChangeError, unknown."""
        records = self.store.read()
        if name not in records:
            raise self._make_unknown_error(name, records)
        return records[name]

    def create(self, name: str, settings: KeySettings, who: str) -> NewSecret:
        """Add a key with these settings and a new secret.

        If the settings have `sha256`, it is the hash of a secret that the caller has, and they may
        have its `earlier` secrets. Raises KeyChangeError, and what the store raises.
        """
        if not _NAME_PATTERN.fullmatch(name):
            message = "a name is letters, digits, and . _ @ - between them, 64 at most."
            raise KeyChangeError(message, kind="invalid", setting="name")
        settings = {key: value for key, value in settings.items() if value is not None}
        digest, secret, earlier = settings.pop("sha256", None), None, {}
        if digest is None:
            secret = self._make_secret()
            digest = _hash_secret(secret)
        else:
            digest = self._check_digest(name, digest)
            earlier = {"earlier": settings.pop("earlier")} if "earlier" in settings else {}
        checked = self._check_settings(settings, earlier)
        new_settings = {"sha256": digest, **checked, **earlier}

        def change(before: KeyRecord | None) -> KeySettings:
            if before is not None:
                reason = (
                    "It is revoked, and its name cannot be used again."
                    if before.settings.get("revoked")
                    else ""
                )
                hint = reason or "`tiergate keys rotate` gives it a new secret."
                raise KeyChangeError(f"There is a key {name!r} in {self.store.place}. {hint}")
            return new_settings

        return NewSecret(self._edit("create", name, change, who), secret)

    def create_first(self, name: str, who: str) -> str | None:
        """Add a first key to a store that has none, and return its secret.

        Return None if the store has keys already. Raises what the store raises.
        """
        try:
            return None if self.store.read() else self.create(name, {}, who).secret
        except KeyChangeError:
            return None  # another process was faster

    def change(self, name: str, changes: KeySettings, who: str) -> KeyRecord:
        """Change settings of a key; None removes one. Raises as `create` does."""
        given = {key: value for key, value in changes.items() if value is not None}
        for setting in changes:
            self._check_name_of_setting(setting)
        checked = self._check_settings(given)

        def change(before: KeyRecord | None) -> KeySettings:
            record = self._require(name, before)
            self._refuse_revoked(record)
            kept = {key: value for key, value in record.settings.items() if key not in changes}
            return {**kept, **checked}

        return self._edit("change", name, change, who)

    def rotate(self, name: str, keep_seconds: float, who: str) -> NewSecret:
        """Give a key a new secret; the current one stays valid for `keep_seconds`.

        With 0 seconds all earlier secrets end at once. Raises as `create` does.
        """
        now, secret = self._clock(), self._make_secret()

        def change(before: KeyRecord | None) -> KeySettings:
            record = self._require(name, before)
            self._refuse_revoked(record)
            settings = dict(record.settings)
            expires = settings.get("expires")
            if expires is not None and parse_time(expires) <= now:
                hint = f"Change its `expires` in {self.store.place} first."
                raise KeyChangeError(f"The key {name!r} expired on {expires}. {hint}")
            earlier = [
                {**item, "until": str(item["until"])}
                for item in settings.pop("earlier", ())
                if keep_seconds and parse_time(str(item["until"])) > now
            ]
            if keep_seconds:
                end = _format_time(now + keep_seconds)
                earlier.insert(0, {"sha256": settings["sha256"], "until": end})
            settings["sha256"] = _hash_secret(secret)
            return {**settings, "earlier": earlier} if earlier else settings

        return NewSecret(self._edit("rotate", name, change, who), secret)

    def revoke(self, name: str, who: str) -> bool:
        """Revoke a key from now on; return False if it was revoked before.

        The key stays in the store, so that nobody else gets its name: the ledger and the cache
        know it. Raises as `create` does.
        """
        was_live = False

        def change(before: KeyRecord | None) -> KeySettings:
            nonlocal was_live
            record = self._require(name, before)
            was_live = not record.settings.get("revoked")
            if not was_live:
                return record.settings
            return {**record.settings, "revoked": _format_time(self._clock())}

        self._edit("revoke", name, change, who)
        return was_live

    def _edit(self, act: KeyAct, name: str, change: ChangeKey, who: str) -> KeyRecord:
        rows: list[AuditRow] = []

        def describe(before: KeyRecord | None, settings: KeySettings) -> AuditRow:
            row = AuditRow(
                at=self._clock(),
                who=who,
                via=self._via,
                act=f"key.{act}",
                subject=name,
                before=None if before is None else hide_hashes(before.settings),
                after=hide_hashes(settings),
                host=socket.gethostname(),
            )
            rows.append(row)
            return row

        record = self.store.edit(name, change, describe)
        for row in rows:
            self._note(row)
        return record

    def _make_secret(self) -> str:
        return f"tg-{self._random_bytes(_SECRET_BITS // 8).hex()}"

    def _check_digest(self, name: str, digest: object) -> str:
        """Return a hash that a caller has brought. Raises KeyChangeError if it cannot be used."""
        if not isinstance(digest, str) or not _HASH_PATTERN.fullmatch(digest.lower()):
            message = "sha256: must be the SHA-256 of a secret, 64 hex digits."
            raise KeyChangeError(message, kind="invalid", setting="sha256")
        for record in self.store.read().values():
            hashes = [record.settings.get("sha256")]
            hashes += [item.get("sha256") for item in record.settings.get("earlier", ())]
            if record.name != name and digest.lower() in hashes:
                raise KeyChangeError(f"{name!r} has the same secret as {record.name!r}.")
        return digest.lower()

    def _check_name_of_setting(self, setting: str) -> None:
        """Refuse a setting that does not exist, or that another act sets."""
        if setting in _HINTS_BY_FIXED_SETTING:
            message = f"{setting}: cannot be set. {_HINTS_BY_FIXED_SETTING[setting]}"
            raise KeyChangeError(message, kind="invalid", setting=setting)
        if setting not in KeyPart.model_fields:
            known_names = KeyPart.model_fields.keys() - _HINTS_BY_FIXED_SETTING.keys()
            hint = suggest_name(setting, known_names)
            message = f"There is no setting {setting[:80]!r} of a key. {hint}".rstrip()
            raise KeyChangeError(message, kind="invalid", setting=setting[:80])

    def _check_settings(
        self, settings: KeySettings, earlier: KeySettings | None = None
    ) -> dict[str, Any]:
        """Return settings as a store keeps them; check `earlier` with them.

        Raises KeyChangeError, invalid.
        """
        for setting in settings:
            self._check_name_of_setting(setting)
        checked = dict(settings)
        if isinstance(expires := checked.get("expires"), str):
            checked["expires"] = self._resolve_expiry(expires)
        try:
            part = KeyPart.model_validate({"sha256": "", **checked, **(earlier or {})})
        except ValidationError as error:
            details = error.errors()[0]
            path = ".".join(str(step) for step in details["loc"])
            if details["loc"][0] == "tiers" and isinstance(details["input"], str):
                name = details["input"]
                text = f"there is no tier {name[:80]!r}. {suggest_name(name, TIERS)}".strip()
                raise KeyChangeError(text, kind="invalid", setting=path) from None
            message = details["msg"].removeprefix("Value error, ")
            text = f"{path}: {message[:1].lower()}{message[1:]}"
            raise KeyChangeError(text, kind="invalid", setting=path) from None
        if self._names is not None:
            _check_names(part, self._names)
        if self._no_limits_reason and (part.limits or part.budgets):
            raise KeyChangeError(self._no_limits_reason)
        return checked

    def _resolve_expiry(self, text: str) -> str:
        """Return an expiry as a store has it: a date or a moment. `90d` counts from now."""
        try:
            parse_time(text)
        except ValueError:
            try:
                seconds = TypeAdapter[float](Duration).validate_python(text)
            except ValidationError:
                return text  # the schema refuses it, in its words
            return _format_time(self._clock() + seconds)
        return text

    def _require(self, name: str, record: KeyRecord | None) -> KeyRecord:
        if record is None:
            raise self._make_unknown_error(name, self.store.read())
        return record

    def _refuse_revoked(self, record: KeyRecord) -> None:
        if record.settings.get("revoked"):
            raise KeyChangeError(f"The key {record.name!r} was revoked: add another.")

    def _make_unknown_error(self, name: str, names: Collection[str]) -> KeyChangeError:
        hint = suggest_name(name, names)
        message = f"There is no key {name[:80]!r} in {self.store.place}. {hint}".rstrip()
        return KeyChangeError(message, kind="unknown")


def describe_key(record: KeyRecord, now: float, source: str) -> dict[str, Any]:
    """Return all of a key as JSON values, without hashes."""
    times = {
        name: value
        for name in ("created", "changed", "changed_by")
        if (value := getattr(record, name)) is not None
    }
    try:
        part, _ = parse_settings(record.settings)
    except KeyStoreError as error:
        row = {"name": record.name, "state": "invalid", "source": source, **times}
        return {**row, "problem": str(error)}
    settings = part.model_dump(mode="json", exclude={"sha256", "earlier", "limits"})
    for name in ("quality", "max_quality"):  # as they were written, not the fraction
        settings[name] = record.settings.get(name)
    return {
        "name": record.name,
        "state": get_state(part, now),
        "source": source,
        **times,
        **settings,
        "limits": [format_limit(item) for item in part.limits],
        "earlier": [item.until for item in part.earlier if parse_time(item.until) > now],
    }


def get_state(part: KeyPart, now: float) -> KeyState:
    """Return the state of a key: what its secret opens now."""
    if part.revoked is not None:
        return "revoked"
    return "expired" if part.expires is not None and parse_time(part.expires) <= now else "live"


def format_limit(part: KeyLimitPart) -> dict[str, object]:
    """Return a limit as people write it."""
    rates = {"requests": part.requests, "tokens": part.tokens}
    values: dict[str, object] = {
        name: f"{rate.amount}/{_UNIT_BY_SECONDS[rate.seconds]}"
        for name, rate in rates.items()
        if rate
    }
    return values if part.concurrency is None else {**values, "concurrency": part.concurrency}


def hide_hashes(settings: KeySettings) -> dict[str, Any]:
    """Return settings without hashes; of earlier secrets only the times stay."""
    shown = {name: value for name, value in settings.items() if name != "sha256"}
    if "earlier" in shown:
        shown["earlier"] = [
            {name: value for name, value in item.items() if name != "sha256"}
            for item in shown["earlier"]
            if isinstance(item, Mapping)
        ]
    return shown


def _check_names(part: KeyPart, names: KnownNames) -> None:
    """Check that labs and regions exist. Raises KeyChangeError."""
    for setting, values in (("labs", part.labs or ()), ("lab", (part.lab,) if part.lab else ())):
        for name in values:
            if name not in names.labs:
                text = f"there is no lab {name[:80]!r}. {suggest_name(name, names.labs)}".strip()
                raise KeyChangeError(text, kind="invalid", setting=setting)
    for name in part.regions or ():
        if name not in names.regions:
            hint = suggest_name(name, names.regions) or "Give providers a `region` first."
            text = f"no provider has the region {name[:80]!r}. {hint}"
            raise KeyChangeError(text, kind="invalid", setting="regions")


def _hash_secret(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _format_time(timestamp: float) -> str:
    return datetime.fromtimestamp(int(timestamp), UTC).isoformat().replace("+00:00", "Z")
