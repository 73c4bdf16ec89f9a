"""The last known copy of a key database, in the data folder: what a start uses while it is away.

The copy has what the database has: settings and hashes, no secret. It is bound to the address of
its database, and only its owner can read it. The workers of one data folder share it.
"""

import hashlib
import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path

import msgspec

from gateway.core import jsonio
from gateway.limits.key_store.store import KeyRecord
from gateway.state.private_file import open_private

_VERSION = 1
_SECRET_PARAMETER = re.compile(r"(?<=[?&])(user|password|sslpassword)=[^&]*")


class _CopyHead(msgspec.Struct):
    """The first line of a copy."""

    version: int
    database: str
    """The hash of the database's address, without credentials."""
    confirmed: float
    """Seconds since the epoch when the database last had these keys."""
    digest: str
    """The hash of the second line, which has the keys."""


class KeptKeys(msgspec.Struct, frozen=True):
    """The content of a copy."""

    records: list[KeyRecord]
    confirmed: float
    """Seconds since the epoch when the database last had these keys."""


_decode_head = jsonio.make_reader(_CopyHead)
_decode_records = jsonio.make_reader(list[KeyRecord])


class LastKeyCopy:
    """The copy of one database. `refresh_seconds`: how old its time may become before a write."""

    def __init__(self, file: Path, url: str, refresh_seconds: float) -> None:
        self.file = file
        self._database = _hash_bytes(_remove_credentials(url).encode())
        self.refresh_seconds = refresh_seconds

    def read(self) -> KeptKeys | None:
        """Return the copy; None if there is none of this database. Raises OSError."""
        try:
            with self.file.open("rb") as file:
                head, body = _parse_head(file.readline()), file.read()
        except FileNotFoundError:
            return None
        if (
            head is None
            or (head.version, head.database) != (_VERSION, self._database)
            or head.digest != _hash_bytes(body)
        ):
            return None
        records: list[KeyRecord] = _decode_records(body)
        return KeptKeys(records, head.confirmed)

    def keep(self, records: Sequence[KeyRecord], now: float) -> None:
        """Write the copy, unless it has the same keys and a time that is young. Raises OSError."""
        body = jsonio.dumps([msgspec.structs.asdict(record) for record in records])
        new_head = _CopyHead(_VERSION, self._database, now, _hash_bytes(body))
        try:
            with self.file.open("rb") as file:
                head = _parse_head(file.readline())
        except FileNotFoundError:
            head = None
        if (
            head is not None
            and (head.version, head.database, head.digest)
            == (_VERSION, self._database, new_head.digest)
            and 0 <= now - head.confirmed < self.refresh_seconds / 2
        ):
            return
        data = jsonio.dumps(msgspec.structs.asdict(new_head)) + b"\n" + body
        temporary = self.file.with_name(f".{self.file.name}.{secrets.token_hex(4)}")
        descriptor = open_private(temporary, os.O_WRONLY)
        try:
            with os.fdopen(descriptor, "wb") as output:
                output.write(data)
            temporary.replace(self.file)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _parse_head(line: bytes) -> _CopyHead | None:
    try:
        head: _CopyHead = _decode_head(line)
    except jsonio.JsonError:
        return None
    return head


def _remove_credentials(url: str) -> str:
    """Return the address of a database: its copy stays valid when a password changes."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{_SECRET_PARAMETER.sub('', rest.rpartition('@')[2])}"


def _hash_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
