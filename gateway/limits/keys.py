"""Client keys: SHA-256 of 256 random bits each, looked up by hash; no secret is kept anywhere.

A file of keys is YAML, `name: {sha256: <64 hex digits>, ...}`; `KeyPart` has all that may stand
there. TIERGATE_KEYS adds more as `name=<sha256>`, separated by commas. The file is watched: what is
changed in it holds within about a second, and a file with a mistake changes nothing.
"""

import asyncio
import hashlib
import hmac
import math
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Self

import msgspec
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from gateway.core.call import OPEN, CacheMode, Key, KeyBudget, KeyLimit, Strategy
from gateway.core.errors import Problem, ProblemError
from gateway.core.target import Tier
from gateway.limits.key_guessing import WrongKeyCounter
from gateway.settings import yaml
from gateway.settings.errors import ConfigError, Mistake
from gateway.settings.schema.base import Complete, Words
from gateway.settings.schema.limits import MOST, BudgetPart, Every, Pace, Sum, Tiers
from gateway.settings.schema.root import Part
from gateway.telemetry.log import Log, silent

EVERY = 1.0
"""Seconds between two looks at the file."""
_HASH = re.compile("[0-9a-f]{64}")
_DAY = 10
"""Characters of a date."""


def moment(text: str) -> float:
    """Seconds since the epoch until which something holds; a day counts to its end, in UTC.

    Raises ValueError.
    """
    try:
        if len(text) == _DAY:
            end = date.fromisoformat(text) + timedelta(days=1)
            return datetime(end.year, end.month, end.day, tzinfo=UTC).timestamp()
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        message = "must be a date or a moment, as 2027-01-31 or 2027-01-31T18:00:00Z"
        raise ValueError(message) from None


def _until(text: str) -> str:
    moment(text)
    return text


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str | dict) else value


type Until = Annotated[str, AfterValidator(_until)]


class KeyLimitPart(Part):
    """What a key may use at most; 0 refuses."""

    requests: Pace | None = None
    tokens: Pace | None = None
    concurrency: Annotated[int, Field(ge=0, le=MOST)] | None = None

    @model_validator(mode="after")
    def _is_a_limit(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("limits nothing: give it `requests`, `tokens` or `concurrency`")
        return self


class KeyBudgetPart(Part):
    """What a key may spend at most; 0 refuses."""

    usd: Sum
    every: Every
    tier: Tiers | None = None
    soft: Annotated[Decimal, Field(gt=0, le=1)] | None = None
    hard: bool = True
    then: Tier | None = None
    reserve: Literal["cap", "expected"] = "cap"

    @model_validator(mode="after")
    def _is_a_budget(self) -> Self:
        own = {name: getattr(self, name) for name in self.model_fields_set}
        BudgetPart.model_validate({**own, "name": "of a key"})
        return self


class EarlierPart(Part):
    """A secret that a key had before, and until when it still opens."""

    sha256: str
    until: Until


class KeyPart(Part):
    """One key as a file of keys writes it."""

    sha256: str
    tenant: str = "default"
    lab: str | None = None
    tags: Words | None = None
    allowed_tags: Words | None = None
    labs: Words | None = None
    tiers: Annotated[list[Tier], BeforeValidator(_one_or_more)] | None = None
    models: Words | None = None
    regions: Words | None = None
    complete: Complete | None = None
    conversation: Strategy | None = None
    cache: CacheMode | None = None
    admin: bool = False
    expires: Until | None = None
    revoked: Until | None = None
    """When; from then on it opens nothing, whatever else is written."""
    earlier: tuple[EarlierPart, ...] = ()
    limits: Annotated[tuple[KeyLimitPart, ...], BeforeValidator(_one_or_more)] = ()
    budgets: Annotated[tuple[KeyBudgetPart, ...], BeforeValidator(_one_or_more)] = ()


class KnownSecret(msgspec.Struct, frozen=True):
    """A secret that is known, by its hash, and until when it opens."""

    digest: bytes
    key: Key
    until: float = math.inf


_NOBODY = KnownSecret(bytes(32), OPEN, -math.inf)
type Table = Mapping[bytes, KnownSecret]


class KeyTable:
    """The table of keys. Open, it lets every call through as the key "open"."""

    def __init__(
        self,
        file: Path | None,
        extra: Table,
        *,
        log: Log = silent,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`extra` are known beside those of the file. Raises ConfigError."""
        self._file = file
        self._extra = extra
        self._log = log
        self._clock = clock
        self.is_open = file is None and not extra
        self.guesses = WrongKeyCounter()
        """Counts keys that open nothing, wherever they came."""
        self._seen = _mark(file)
        self._swap(_file(file, extra) if file is not None else extra)

    def __len__(self) -> int:
        return self._count

    @property
    def admin(self) -> bool:
        """Whether some key is an admin's, one that has expired or was revoked too."""
        return self._admin

    def known(self) -> list[Key]:
        """All keys that are known now."""
        return [one.key for one in self._table.values()]

    def opening(self) -> list[Key]:
        """Return the keys that open something now."""
        return [one.key for one in self._opening.values()]

    def admins(self) -> Iterator[bytes]:
        """The hash of each secret that opens now, and is an admin's."""
        now = self._clock()
        for digest, known in self._opening.items():
            if known.key.admin and now < known.until:
                yield digest

    def find(self, secret: str | None) -> Key:
        """The key of a secret. Raises ProblemError: invalid_api_key."""
        if self.is_open:
            return OPEN
        if not secret:
            message = "A key is required: send it as `Authorization: Bearer <key>`."
            raise ProblemError(Problem(kind="invalid_api_key", message=message))
        return self.opened(hashed(secret))

    def opened(self, digest: bytes) -> Key:
        """The key of a secret, by its hash. Raises ProblemError: invalid_api_key.

        A secret that is unknown, malformed, expired or revoked goes the same way, step by step:
        the table that is looked into has none of them. Only hashes are looked up: the time it
        takes tells of a hash, and nothing of a secret.
        """
        known = self._opening.get(digest, _NOBODY)
        same = hmac.compare_digest(known.digest, digest)
        if not same & (self._clock() < known.until):
            message = "This key is not known here. Check it, or ask whoever runs the gateway."
            raise ProblemError(Problem(kind="invalid_api_key", message=message))
        return known.key

    def refresh(self) -> None:
        """Take over what the file has become. One with a mistake is told of once, and not taken."""
        seen = _mark(self._file)
        if self._file is None or seen == self._seen:
            return
        table, wrong = self._extra, list[Mistake]()
        try:
            table = _file(self._file, self._extra)
        except ConfigError as error:
            wrong = error.mistakes
        if _mark(self._file) != seen:
            return  # it is being written: the next look finds it whole
        self._seen = seen
        if not wrong:
            self._swap(table)
            self._log("keys", file=str(self._file), text=f"read again: {len(self)} keys")
        for one in wrong:
            text = f"{one.path}: {one.message}" if one.path else one.message
            text += " The keys stay as they were."
            self._log("keys", file=one.file, line=one.line, text=text)

    async def watch(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Look at the file once a second, until cancelled; it is read beside the loop.

        A key that has expired leaves the table then; it opens nothing from its moment on.
        """
        while True:
            await sleep(EVERY)
            if self._clock() >= self._ends:
                self._opens()
            if self._file is not None and _mark(self._file) != self._seen:
                await asyncio.to_thread(self.refresh)

    def _swap(self, table: Table) -> None:
        live = {known.key.name for known in table.values() if known.until > -math.inf}
        self._count = len(live)
        self._admin = any(known.key.admin for known in table.values())
        self._table = table
        self._opens()

    def _opens(self) -> None:
        """Those that open now. Whoever looks up has the old ones or the new, never a mixture."""
        now = self._clock()
        opening = {digest: one for digest, one in self._table.items() if now < one.until}
        self._ends = min((one.until for one in opening.values()), default=math.inf)
        self._opening = opening


def hashed(secret: str) -> bytes:
    """What of a secret is known here."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def load(
    setting: str,
    folder: Path,
    extra: str,
    *,
    log: Log = silent,
    clock: Callable[[], float] = time.time,
) -> KeyTable:
    """Read the table: `setting` is "open" or a file, `extra` TIERGATE_KEYS. Raises ConfigError."""
    more = dict[bytes, KnownSecret]()
    for pair in filter(None, (item.strip() for item in extra.split(","))):
        name, _, digest = pair.partition("=")
        at = Mistake(file="TIERGATE_KEYS", path=name, message="")
        _add(more, digest.strip(), Key(name=name), math.inf, at)
    file = None if setting == "open" else folder / setting
    return KeyTable(file, more, log=log, clock=clock)


def parts(text: str, file: str) -> Iterator[tuple[str, KeyPart, int]]:
    """Every key of a file with its name and its line. Raises ConfigError."""
    document = yaml.read(text, file)
    value = document.value if document.value is not None else {}
    if not isinstance(value, dict):
        raise ConfigError([Mistake(file=file, line=1, message="must map names to keys")])
    for name, item in value.items():
        try:
            yield name, KeyPart.model_validate(item), document.lines[name,]
        except ValidationError as error:
            first = error.errors()[0]
            path = (name, *first["loc"])
            while path not in document.lines:
                path = path[:-1]
            where = ".".join([name, *(str(step) for step in first["loc"])])
            message = first["msg"].removeprefix("Value error, ")
            message = message[:1].lower() + message[1:]
            mistake = Mistake(file=file, line=document.lines[path], path=where, message=message)
            raise ConfigError([mistake]) from None


def read(text: str, file: str, extra: Table) -> Table:
    """The keys of a file, and others. Raises ConfigError."""
    found = dict(extra)
    for name, part, line in parts(text, file):
        at = Mistake(file=file, line=line, path=name, message="")
        until = moment(part.expires) if part.expires is not None else math.inf
        key = _key(name, part)
        for digest, end in (
            (part.sha256, until),
            *((e.sha256, moment(e.until)) for e in part.earlier),
        ):
            _add(found, digest, key, -math.inf if part.revoked else min(end, until), at)
    return found


def _key(name: str, part: KeyPart) -> Key:
    return Key(
        name=name,
        tenant=part.tenant,
        lab=part.lab,
        tags=tuple(part.tags or ()),
        allowed_tags=_tuple(part.allowed_tags),
        labs=_tuple(part.labs),
        tiers=_tuple(part.tiers),
        models=_tuple(part.models),
        regions=_tuple(part.regions),
        complete=part.complete,
        conversation=part.conversation,
        cache=part.cache,
        admin=part.admin,
        limits=tuple(
            KeyLimit(requests=one.requests, tokens=one.tokens, concurrency=one.concurrency)
            for one in part.limits
        ),
        budgets=tuple(_budget(one) for one in part.budgets),
    )


def _budget(part: KeyBudgetPart) -> KeyBudget:
    return KeyBudget(
        usd=part.usd,
        every=part.every,
        tier=None if part.tier is None else tuple(part.tier),
        soft=part.soft,
        hard=part.hard,
        then=part.then,
        reserve=part.reserve,
    )


def _file(path: Path, extra: Table) -> Table:
    try:
        return read(path.read_text(encoding="utf-8"), str(path), extra)
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise ConfigError([Mistake(file=str(path), message=f"cannot be read: {reason}")]) from None
    except UnicodeDecodeError:
        raise ConfigError([Mistake(file=str(path), message="is not UTF-8.")]) from None


def _mark(path: Path | None) -> tuple[int, ...] | None:
    """What tells one state of a file from another; None where it is not there."""
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return None
    if found is None:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _add(found: dict[bytes, KnownSecret], digest: str, key: Key, until: float, at: Mistake) -> None:
    digest = digest.lower()
    if not key.name or _HASH.fullmatch(digest) is None:
        message = "a key is a name and the SHA-256 of its secret, 64 hex digits."
        raise ConfigError([msgspec.structs.replace(at, message=message)])
    known = KnownSecret(bytes.fromhex(digest), key, until)
    other = found.get(known.digest)
    if other is not None:
        message = f"has the same secret as {other.key.name!r}."
        raise ConfigError([msgspec.structs.replace(at, message=message)])
    found[known.digest] = known


def _tuple(items: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if items is None else tuple(items)
