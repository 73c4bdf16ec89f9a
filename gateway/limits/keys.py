"""Client keys: SHA-256 of 256 random bits each, looked up by hash; no secret is kept anywhere.

A file of keys is YAML: `name: {sha256: <64 hex digits>, lab:, tenant:, tags: [...], allowed_tags:,
labs:, tiers:}`. TIERGATE_KEYS adds more as `name=<sha256>`, separated by commas.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from gateway.core.call import OPEN, Key
from gateway.core.problem import Problem, ProblemError
from gateway.settings import yaml
from gateway.settings.mistake import ConfigError, Mistake
from gateway.settings.schema import Part, Words

_HASH = re.compile("[0-9a-f]{64}")


class KeyPart(Part):
    """One key as a file of keys writes it."""

    sha256: str
    tenant: str = "default"
    lab: str | None = None
    tags: Words | None = None
    allowed_tags: Words | None = None
    labs: Words | None = None
    tiers: Words | None = None


class Keys:
    """The table of keys. Open, it lets every call through as the key "open"."""

    def __init__(self, by_hash: Mapping[str, Key], *, is_open: bool) -> None:
        self._by_hash = {bytes.fromhex(digest): key for digest, key in by_hash.items()}
        self.is_open = is_open

    def __len__(self) -> int:
        return len(self._by_hash)

    def find(self, secret: str | None) -> Key:
        """The key of a secret. Raises ProblemError: invalid_api_key."""
        if self.is_open:
            return OPEN
        if not secret:
            message = "A key is required: send it as `Authorization: Bearer <key>`."
            raise ProblemError(Problem(kind="invalid_api_key", message=message))
        # Only hashes are looked up: the time it takes tells of a hash, and nothing of a secret.
        digest = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
        found = self._by_hash.get(digest)
        if found is None:
            message = "This key is not known here. Check it, or ask whoever runs the gateway."
            raise ProblemError(Problem(kind="invalid_api_key", message=message))
        return found


def load(setting: str, folder: Path, extra: str) -> Keys:
    """Read the table: `setting` is "open" or a file, `extra` TIERGATE_KEYS. Raises ConfigError."""
    table: dict[str, Key] = {}
    if setting != "open":
        table.update(_file(folder / setting))
    for pair in filter(None, (item.strip() for item in extra.split(","))):
        name, _, digest = pair.partition("=")
        _add(table, name, digest.strip().lower(), Key(name=name), "TIERGATE_KEYS", None)
    return Keys(table, is_open=setting == "open" and not table)


def _file(path: Path) -> dict[str, Key]:
    try:
        document = yaml.read(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise ConfigError([Mistake(file=str(path), message=f"cannot be read: {reason}")]) from None
    table: dict[str, Key] = {}
    value = document.value if document.value is not None else {}
    if not isinstance(value, dict):
        raise ConfigError([Mistake(file=str(path), line=1, message="must map names to keys")])
    for name, item in value.items():
        line = document.lines[(name,)]
        try:
            part = KeyPart.model_validate(item)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join([name, *(str(step) for step in first["loc"])])
            message = first["msg"].lower()
            raise ConfigError(
                [Mistake(file=str(path), line=line, path=where, message=message)]
            ) from None
        key = Key(
            name=name,
            tenant=part.tenant,
            lab=part.lab,
            tags=tuple(part.tags or ()),
            allowed_tags=_tuple(part.allowed_tags),
            labs=_tuple(part.labs),
            tiers=_tuple(part.tiers),
        )
        _add(table, name, part.sha256.lower(), key, str(path), line)
    return table


def _add(
    table: dict[str, Key], name: str, digest: str, key: Key, file: str, line: int | None
) -> None:
    if not name or _HASH.fullmatch(digest) is None:
        message = "a key is a name and the SHA-256 of its secret, 64 hex digits."
        raise ConfigError([Mistake(file=file, line=line, path=name, message=message)])
    if digest in table:
        message = f"has the same secret as {table[digest].name!r}."
        raise ConfigError([Mistake(file=file, line=line, path=name, message=message)])
    table[digest] = key


def _tuple(items: list[str] | None) -> tuple[str, ...] | None:
    return None if items is None else tuple(items)
