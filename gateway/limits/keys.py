"""Client keys: SHA-256 of 256 random bits each, looked up by hash; no secret is stored anywhere.

A key file is YAML, `name: {sha256: <64 hex digits>, ...}`; `KeyPart` lists all settings.
TIERGATE_KEYS adds more keys as `name=<sha256>`, separated by commas. The gateway watches the file:
a change takes effect within about a second, and a file with a mistake changes nothing. A database
may take the place of the file, see `key_store`.
"""

import hashlib
import hmac
import math
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, NamedTuple, Protocol, Self

import msgspec
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from gateway.core.call import (
    LEAST_OUTPUT,
    OPEN_KEY,
    BudgetRise,
    CacheMode,
    Key,
    KeyBudget,
    KeyLimit,
    ReserveMode,
    Strategy,
    WindowKind,
)
from gateway.core.errors import Problem, ProblemError
from gateway.core.target import Tier
from gateway.limits.key_guessing import WrongKeyCounter
from gateway.settings import yaml
from gateway.settings.errors import ConfigError, Mistake
from gateway.settings.schema.base import (
    CompleteSetting,
    EscalateSetting,
    QualitySetting,
    Word,
    Words,
    check_end,
    parse_end,
)
from gateway.settings.schema.limits import (
    MAX_COUNT,
    BudgetPart,
    LeastOutput,
    RateValue,
    RisePart,
    TierList,
    TimeZoneName,
    UsdAmount,
)
from gateway.settings.schema.root import Part
from gateway.settings.schema.tokens import DeniedClaim
from gateway.telemetry.log import Log, ignore_event

CHECK_SECONDS = 1.0
"""Seconds between two checks of the file."""
_HASH_PATTERN = re.compile("[0-9a-f]{64}")
_MAX_TOKENS = 10_000
"""Verified tokens that a table holds; more cost the oldest one a second verification."""


def parse_time(text: str) -> float:
    """Return when a date or a time ends, in seconds since the epoch.

    A date lasts to the end of its day, in UTC. A time without an offset is in UTC. Raises
    ValueError.
    """
    return parse_end(text)


def _to_list(value: object) -> object:
    return [value] if isinstance(value, str | dict) else value


type ExpiryTime = Annotated[str, AfterValidator(check_end)]


class KeyLimitPart(Part):
    """The limits of one key; 0 refuses all of its calls."""

    requests: RateValue | None = None
    tokens: RateValue | None = None
    concurrency: Annotated[int, Field(ge=0, le=MAX_COUNT)] | None = None

    @model_validator(mode="after")
    def _is_a_limit(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("limits nothing: give it `requests`, `tokens` or `concurrency`")
        return self


class KeyBudgetPart(Part):
    """A budget of one key; 0 refuses all calls that it counts."""

    usd: UsdAmount
    every: WindowKind
    time_zone: TimeZoneName = ""
    tier: TierList | None = None
    soft: Annotated[Decimal, Field(gt=0, le=1)] | None = None
    hard: bool = True
    then: Tier | None = None
    reserve: ReserveMode = "cap"
    least_output: LeastOutput = LEAST_OUTPUT
    rise: RisePart | None = None

    @model_validator(mode="after")
    def _is_a_budget(self) -> Self:
        values = {name: getattr(self, name) for name in self.model_fields_set}
        BudgetPart.model_validate({**values, "name": "of a key"})
        return self


class EarlierPart(Part):
    """An earlier secret of a key, and the time until which it stays valid."""

    sha256: str
    until: ExpiryTime


class KeyPart(Part):
    """One key as it stands in a key file."""

    sha256: str
    tenant: str = "default"
    team: Word | None = None
    lab: str | None = None
    tags: Words | None = None
    allowed_tags: Words | None = None
    labs: Words | None = None
    tiers: Annotated[list[Tier], BeforeValidator(_to_list)] | None = None
    models: Words | None = None
    regions: Words | None = None
    complete: CompleteSetting | None = None
    escalate: EscalateSetting | None = None
    quality: QualitySetting | None = None
    max_quality: QualitySetting | None = None
    conversation: Strategy | None = None
    cache: CacheMode | None = None
    admin: bool = False
    denied_tokens: Annotated[list[DeniedClaim], BeforeValidator(_to_list)] | None = None
    expires: ExpiryTime | None = None
    revoked: ExpiryTime | None = None
    """The time of its revocation. From then on it is invalid, whatever its other settings are."""
    earlier: tuple[EarlierPart, ...] = ()
    limits: Annotated[tuple[KeyLimitPart, ...], BeforeValidator(_to_list)] = ()
    budgets: Annotated[tuple[KeyBudgetPart, ...], BeforeValidator(_to_list)] = ()


class TokenUser(NamedTuple):
    """The end user of a token of an identity provider."""

    id: str
    is_fixed: bool
    """True if all calls with the token are those of this user, whatever they say."""


class KnownSecret(msgspec.Struct, frozen=True):
    """The hash of a known secret, its key, and the time until which it is valid."""

    digest: bytes
    key: Key
    expires_at: float = math.inf
    end_user: TokenUser | None = None
    """The end user of a token; None for the secret of a key."""


_UNKNOWN_SECRET = KnownSecret(bytes(32), OPEN_KEY, -math.inf)
type SecretTable = Mapping[bytes, KnownSecret]


class DatabaseSecrets(Protocol):
    """The secrets of a key database, which a thread of its own keeps current."""

    @property
    def secrets(self) -> SecretTable:
        """The last known secrets; another object after each change."""
        ...

    @property
    def failure(self) -> str:
        """The reason why the database does not answer; empty while it does."""
        ...

    @property
    def age(self) -> float:
        """Seconds since the keys were last known to be current."""
        ...

    @property
    def refusal(self) -> Problem | None:
        """The error for calls with these secrets once they are stale; None before."""
        ...

    def describe_failure(self) -> str:
        """Return a sentence on a database that does not answer; empty while it does."""
        ...

    def start(self) -> None:
        """Begin to follow the database."""
        ...

    def hurry(self) -> None:
        """Ask the database now: this gateway has just changed a key."""
        ...

    def stop(self) -> None:
        """End it, without a wait for a database that does not answer."""
        ...


class KeyTable:
    """The table of keys. If it is open, it lets every call through as the key "open"."""

    def __init__(
        self,
        file: Path | None,
        extra_secrets: SecretTable,
        *,
        database: DatabaseSecrets | None = None,
        log: Log = ignore_event,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Read a file or a database; `extra_secrets` are valid beside theirs.

        Raises ConfigError.
        """
        self._file = file
        self._extra_secrets = extra_secrets
        self.database = database
        self._log = log
        self._clock = clock
        self.is_open = file is None and database is None and not extra_secrets
        self.takes_tokens = False
        """True if clients may send tokens of identity providers in place of a key."""
        self._tokens: dict[bytes, KnownSecret] = {}
        """Verified tokens of identity providers, by hash, oldest first."""
        self.wrong_key_counter = WrongKeyCounter()
        """Counts wrong keys from all entry points."""
        self._file_state = _read_file_state(file)
        self._adopt_database()
        if file is not None:
            self._set_table(_read_file(file, extra_secrets))

    def __len__(self) -> int:
        return self._count

    @property
    def has_admin(self) -> bool:
        """Return True if there is an admin key, even an expired or revoked one."""
        return self._has_admin

    def list_keys(self) -> list[Key]:
        """Return the key of each secret, even of an expired or revoked one."""
        return [secret.key for secret in self._table.values()]

    def list_active_keys(self) -> list[Key]:
        """Return the key of each active secret; a key with two secrets appears twice."""
        return [secret.key for secret in self._active.values()]

    def iter_admin_hashes(self) -> Iterator[bytes]:
        """Yield the hash of each admin secret that is valid now."""
        now = self._clock()
        for digest, secret in self._active.items():
            if secret.key.admin and now < secret.expires_at:
                yield digest

    @property
    def refusal(self) -> Problem | None:
        """The error for unknown secrets while nobody can check them; None while all is well."""
        return None if self.database is None else self.database.refusal

    def find(self, secret: str | None) -> Key:
        """Return the key of a secret. Raises ProblemError: invalid_api_key, keys_unavailable."""
        if self.is_open:
            return OPEN_KEY
        if not secret:
            message = "A key is required: send it as `Authorization: Bearer <key>`."
            raise ProblemError(Problem(kind="invalid_api_key", message=message))
        return self.find_by_hash(hash_secret(secret))

    def find_by_hash(self, digest: bytes) -> Key:
        """Return the key of a secret by its hash. Raises ProblemError as `find` does.

        Unknown, malformed, expired and revoked secrets take the same steps: the active table has
        none of them. The table is searched by hash alone, so the time that a search takes reveals
        nothing about a secret.
        """
        secret = self._active.get(digest) or self._tokens.get(digest, _UNKNOWN_SECRET)
        is_same = hmac.compare_digest(secret.digest, digest)
        if not is_same & (self._clock() < secret.expires_at):
            if (refusal := self.refusal) is not None:
                raise ProblemError(refusal)
            message = (
                "The gateway does not know this key. Check it, or ask the operator of the gateway."
            )
            raise ProblemError(Problem(kind="invalid_api_key", message=message))
        return secret.key

    def find_token(self, digest: bytes) -> KnownSecret | None:
        """Return a verified token by its hash; None if there is none, or it expired."""
        token = self._tokens.get(digest)
        return token if token is not None and self._clock() < token.expires_at else None

    def find_active(self, name: str) -> KnownSecret:
        """Return an active secret of a key, for a token. Raises ProblemError: not_allowed."""
        now = self._clock()
        for secret in self._active.values():
            if secret.key.name == name and now < secret.expires_at:
                return secret
        message = "The key that this token is mapped to is not active. Ask the operator."
        raise ProblemError(Problem(kind="not_allowed", message=message))

    def add_token(
        self, digest: bytes, secret: KnownSecret, end_user: TokenUser, expires_at: float
    ) -> None:
        """Let a verified token open the key of a secret, as long as the secret does.

        It ends before at `expires_at`, in seconds since the epoch.
        """
        while len(self._tokens) >= _MAX_TOKENS:
            del self._tokens[next(iter(self._tokens))]
        end = min(expires_at, secret.expires_at)
        self._tokens[digest] = KnownSecret(digest, secret.key, end, end_user)

    def forget_tokens(self) -> None:
        """Forget all verified tokens: the next request of each verifies it again."""
        self._tokens = {}

    def refresh(self) -> None:
        """Read the file again if it has changed. Log a mistake once, and keep the old keys."""
        file_state = _read_file_state(self._file)
        if self._file is None or file_state == self._file_state:
            return
        table, mistakes = self._extra_secrets, list[Mistake]()
        try:
            table = _read_file(self._file, self._extra_secrets)
        except ConfigError as error:
            mistakes = error.mistakes
        if _read_file_state(self._file) != file_state:
            return  # somebody still writes it: the next check reads all of it
        self._file_state = file_state
        if not mistakes:
            self._set_table(table)
            self._log("keys", file=str(self._file), text=f"read again: {len(self)} keys")
        for mistake in mistakes:
            text = f"{mistake.text} The keys stay as they were."
            self._log("keys", file=mistake.file, line=mistake.line, text=text)

    async def watch(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Check the file or the database once a second, until cancelled; read it in a thread.

        An expired key leaves the table at such a check, but it is invalid from the moment it
        expires.
        """
        import asyncio  # noqa: PLC0415 - slow to import, and commands never watch

        if self.database is not None:
            self.database.start()
        try:
            while True:
                await sleep(CHECK_SECONDS)
                if self._clock() >= self._next_expiry or self._is_stale != bool(self.refusal):
                    self._update_active()
                if self._file is not None and _read_file_state(self._file) != self._file_state:
                    await asyncio.to_thread(self.refresh)
                if (
                    self.database is not None
                    and self.database.secrets is not self._database_secrets
                ):
                    await asyncio.to_thread(self._adopt_database)
        finally:
            if self.database is not None:
                self.database.stop()

    def _adopt_database(self) -> None:
        """Take the secrets of the database; those of the environment win."""
        self._database_secrets = {} if self.database is None else self.database.secrets
        self._set_table({**self._database_secrets, **self._extra_secrets})

    def _set_table(self, table: SecretTable) -> None:
        live_names = {secret.key.name for secret in table.values() if secret.expires_at > -math.inf}
        self._count = len(live_names)
        self._has_admin = any(secret.key.admin for secret in table.values())
        self._table = table
        self._update_active()
        self.forget_tokens()  # their keys may have changed

    def _update_active(self) -> None:
        """Build the table of active secrets.

        The new table replaces the old one at once, so a lookup never sees a mixture.
        """
        now = self._clock()
        self._is_stale = self.refusal is not None
        usable_table = self._extra_secrets if self._is_stale else self._table
        active = {
            digest: secret for digest, secret in usable_table.items() if now < secret.expires_at
        }
        self._next_expiry = min((secret.expires_at for secret in active.values()), default=math.inf)
        self._active = active


def hash_secret(secret: str) -> bytes:
    """Return the hash of a secret, which is all that the gateway knows of it."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def load(
    setting: str,
    folder: Path,
    extra: str,
    *,
    database: DatabaseSecrets | None = None,
    log: Log = ignore_event,
    clock: Callable[[], float] = time.time,
) -> KeyTable:
    """Read the table: `setting` is "open" or a file, `extra` TIERGATE_KEYS.

    With `database`, the setting is its URL. Raises ConfigError.
    """
    extra_secrets = dict[bytes, KnownSecret]()
    for pair in filter(None, (item.strip() for item in extra.split(","))):
        name, _, digest = pair.partition("=")
        mistake = Mistake(file="TIERGATE_KEYS", path=name, message="")
        _add_secret(extra_secrets, digest.strip(), Key(name=name), math.inf, mistake)
    file = None if setting == "open" or database is not None else folder / setting
    return KeyTable(file, extra_secrets, database=database, log=log, clock=clock)


def iter_key_parts(text: str, file: str) -> Iterator[tuple[str, KeyPart, int]]:
    """Yield each key of a file: its name, its settings and its line. Raises ConfigError."""
    document = yaml.read(text, file)
    value = document.value if document.value is not None else {}
    if not isinstance(value, dict):
        raise ConfigError([Mistake(file=file, line=1, message="must map names to keys")])
    for name, item in value.items():
        try:
            yield name, KeyPart.model_validate(item), document.lines[name,]
        except ValidationError as error:
            details = error.errors()[0]
            path = (name, *details["loc"])
            while path not in document.lines:
                path = path[:-1]
            dotted_path = ".".join([name, *(str(step) for step in details["loc"])])
            message = details["msg"].removeprefix("Value error, ")
            message = message[:1].lower() + message[1:]
            mistake = Mistake(
                file=file, line=document.lines[path], path=dotted_path, message=message
            )
            raise ConfigError([mistake]) from None


def read(text: str, file: str, extra_secrets: SecretTable) -> SecretTable:
    """Return the secrets of a key file, and the extra ones. Raises ConfigError."""
    table = dict(extra_secrets)
    for name, part, line in iter_key_parts(text, file):
        add_key(table, name, part, Mistake(file=file, line=line, path=name, message=""))
    return table


def add_key(table: dict[bytes, KnownSecret], name: str, part: KeyPart, mistake: Mistake) -> None:
    """Add the secrets of a key to a table. Raises ConfigError, which says where `mistake` does."""
    expires_at = parse_time(part.expires) if part.expires is not None else math.inf
    key = _make_key(name, part)
    for digest, secret_expires_at in (
        (part.sha256, expires_at),
        *((earlier.sha256, parse_time(earlier.until)) for earlier in part.earlier),
    ):
        _add_secret(
            table,
            digest,
            key,
            -math.inf if part.revoked else min(secret_expires_at, expires_at),
            mistake,
        )


def _make_key(name: str, part: KeyPart) -> Key:
    return Key(
        name=name,
        tenant=part.tenant,
        team=part.team,
        lab=part.lab,
        tags=tuple(part.tags or ()),
        allowed_tags=_to_tuple(part.allowed_tags),
        labs=_to_tuple(part.labs),
        tiers=_to_tuple(part.tiers),
        models=_to_tuple(part.models),
        regions=_to_tuple(part.regions),
        complete=part.complete,
        escalate=part.escalate,
        quality=part.quality,
        max_quality=part.max_quality,
        conversation=part.conversation,
        cache=part.cache,
        admin=part.admin,
        denied_tokens=tuple(part.denied_tokens or ()),
        limits=tuple(
            KeyLimit(requests=item.requests, tokens=item.tokens, concurrency=item.concurrency)
            for item in part.limits
        ),
        budgets=tuple(_make_budget(item) for item in part.budgets),
    )


def _make_budget(part: KeyBudgetPart) -> KeyBudget:
    return KeyBudget(
        usd=part.usd,
        every=part.every,
        time_zone=part.time_zone,
        tier=None if part.tier is None else tuple(part.tier),
        soft=part.soft,
        hard=part.hard,
        then=part.then,
        reserve=part.reserve,
        least_output=part.least_output,
        rise=None if part.rise is None else BudgetRise(usd=part.rise.usd, until=part.rise.until),
    )


def _read_file(path: Path, extra_secrets: SecretTable) -> SecretTable:
    try:
        return read(path.read_text(encoding="utf-8"), str(path), extra_secrets)
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise ConfigError([Mistake(file=str(path), message=f"cannot be read: {reason}")]) from None
    except UnicodeDecodeError:
        raise ConfigError([Mistake(file=str(path), message="is not UTF-8.")]) from None


def _read_file_state(path: Path | None) -> tuple[int, ...] | None:
    """Return a fingerprint of the state of a file; None if it is missing."""
    try:
        file_stat = path.stat() if path is not None else None
    except OSError:
        return None
    if file_stat is None:
        return None
    return (
        file_stat.st_dev,
        file_stat.st_ino,
        file_stat.st_size,
        file_stat.st_mtime_ns,
        file_stat.st_ctime_ns,
    )


def _add_secret(
    table: dict[bytes, KnownSecret], digest: str, key: Key, expires_at: float, mistake: Mistake
) -> None:
    digest = digest.lower()
    if not key.name or _HASH_PATTERN.fullmatch(digest) is None:
        message = "a key is a name and the SHA-256 of its secret, 64 hex digits."
        raise ConfigError([msgspec.structs.replace(mistake, message=message)])
    secret = KnownSecret(bytes.fromhex(digest), key, expires_at)
    existing = table.get(secret.digest)
    if existing is not None:
        message = f"has the same secret as {existing.key.name!r}."
        raise ConfigError([msgspec.structs.replace(mistake, message=message)])
    table[secret.digest] = secret


def _to_tuple(items: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if items is None else tuple(items)
