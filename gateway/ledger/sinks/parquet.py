"""The Parquet sink: rows by day, in a folder or in a bucket of S3 or of a server that speaks it.

Each kind of rows has a table, as `calls/day=2026-11-30/ORIGIN.parquet`, in the form that DuckDB and
lake engines read. ORIGIN names the bytes of the journal that the object holds. So rows that come
again replace their objects, and each row stays in one object.
"""

import io
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from gateway.ledger.errors import SinkError
from gateway.ledger.ingest import RowBatch
from gateway.ledger.sinks.arrow_tables import (
    CALLS,
    KINDS,
    RowKind,
    build_table,
    erase_personal_columns,
)
from gateway.ledger.sinks.base import BatchOrigin, JournalSink, rest

_SUFFIX: Final = ".parquet"
_EMPTY_OBJECT: Final = f"day=1970-01-01/empty{_SUFFIX}"
"""An object without rows that each table has: engines cannot read a table without objects."""
_FOLDER_MODE: Final = 0o700
_MAX_KNOWN_FOLDERS: Final = 32
_TIMEOUT_SECONDS: Final = 30.0
_CONNECT_SECONDS: Final = 5.0
_DAY_SECONDS: Final = 86_400
_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()
_MAX_TIME: Final = (date.max.toordinal() - _EPOCH_ORDINAL) * float(_DAY_SECONDS)
_MAX_MESSAGE: Final = 300
_OPTIONS: Final = frozenset({"endpoint", "region"})
_URL_FORM: Final = "s3://BUCKET/PREFIX?endpoint=https://HOST&region=NAME or file:///FOLDER"
_OBJECT_PATTERN: Final = re.compile(r"(.+)-(\d{12})-(\d{12})\.parquet")
_COMPRESSION: Final = {
    "compression": "zstd",
    "compression_level": 5,
    # Times, counts and amounts repeat little: a dictionary of them is larger than the values.
    "use_dictionary": [
        field.name
        for kind in KINDS
        for field in kind.schema
        if field.type == pa.string() and field.name not in {"id", "upstream_id", "response_id"}
    ],
}


class _ObjectName(NamedTuple):
    """The name of an object, which tells what bytes of a journal it holds."""

    segment: str
    """The id of the journal's folder, and the name of its segment."""
    start: int
    end: int

    def __str__(self) -> str:
        return f"{self.segment}-{self.start:012}-{self.end:012}{_SUFFIX}"

    def overlaps(self, other: "_ObjectName") -> bool:
        """True if both hold bytes at the same place."""
        return self.segment == other.segment and self.start < other.end and other.start < self.end


class _Delivery:
    """Consecutive rows of a segment that are not in the lake yet."""

    def __init__(self, segment: str, start: int, end: int) -> None:
        self.segment = segment
        self.start = start
        self.end = end
        self.tables = defaultdict[tuple[str, str], list[Any]](list)
        """The rows of each kind and day, as Arrow tables."""


class ParquetSink(JournalSink):
    """Writes rows as Parquet objects; `url` names a bucket of S3 or a folder.

    An object has up to `flush_rows` lines of a journal, or what came within `batch_seconds`:
    engines read many small objects slowly.
    """

    flush_rows = 65_536
    batch_bytes = 32_000_000
    batch_seconds = 300.0

    def __init__(self, name: str, url: str) -> None:
        super().__init__(name)
        parts = urlsplit(url)
        self._is_local = parts.scheme == "file"
        self._options = dict(parse_qsl(parts.query))
        path = unquote(parts.path).strip("/")
        if (
            "@" in parts.netloc
            or bool(parts.netloc) is self._is_local
            or (self._is_local and not path)
            or not self._options.keys() <= (frozenset() if self._is_local else _OPTIONS)
        ):
            raise SinkError(f"the sink {name} must have a URL as {_URL_FORM}")
        self._root = f"/{path}" if self._is_local else f"{parts.netloc}/{path}".rstrip("/")
        self._known_objects: dict[str, set[_ObjectName]] = {}
        """The objects of this journal in a folder, for folders that this process has used."""
        self._has_tables = False
        self._delivery: _Delivery | None = None

    def check(self) -> None:
        """Make the tables, with an object without rows in each; raises SinkError."""
        for kind in KINDS:
            self._put(f"{self._root}/{kind.name}/{_EMPTY_OBJECT}", build_table(kind, []))
        self._has_tables = True

    def write(self, batch: RowBatch, origin: BatchOrigin) -> None:
        """Gather rows as tables, which need less memory than rows."""
        rest()
        delivery = self._delivery
        segment = f"{origin.folder_id}-{origin.segment.removesuffix('.jsonl')}"
        if delivery is None or (delivery.segment, delivery.end) != (segment, origin.start):
            self._delivery = delivery = _Delivery(segment, origin.start, origin.end)
        delivery.end = origin.end
        for kind in KINDS:
            for day, rows in _split_days(kind, kind.get_rows(batch)):
                delivery.tables[kind.name, day].append(build_table(kind, rows))

    def flush(self) -> None:
        """Write gathered rows as an object for each kind and day; raises SinkError."""
        delivery, self._delivery = self._delivery, None
        if delivery is None:
            return
        if not self._has_tables:
            self.check()
        name = _ObjectName(delivery.segment, delivery.start, delivery.end)
        for (kind_name, day), tables in delivery.tables.items():
            self._replace(f"{self._root}/{kind_name}/day={day}", name, pa.concat_tables(tables))

    def erase_in_engine(self, end_user: str) -> None:
        """Write the objects with calls of a user again, without their personal part."""
        selector = fs.FileSelector(f"{self._root}/{CALLS.name}", True, True)  # noqa: FBT003 - recursive, may be missing
        with self._explain_errors():
            paths = [info.path for info in self._filesystem.get_file_info(selector)]
        for path in sorted(path for path in paths if path.endswith(_SUFFIX)):
            with self._explain_errors():
                users = self._read(path, ["end_user"]).column(0)
                is_user = pc.fill_null(pc.equal(users, end_user), False)  # noqa: FBT003 - a value
                if not pc.any(is_user).as_py():
                    continue
                table = self._read(path)
            self._put(path, erase_personal_columns(table, is_user))

    def close(self) -> None:
        """End the connection; the next use opens another one."""
        self.__dict__.pop("_filesystem", None)

    @cached_property
    def _filesystem(self) -> Any:
        """The connection, opened in the process that delivers: it has threads."""
        if self._is_local:
            return fs.LocalFileSystem()
        endpoint = urlsplit(self._options.get("endpoint", "https:"))
        return fs.S3FileSystem(
            region=self._options.get("region"),
            scheme=endpoint.scheme,
            endpoint_override=endpoint.netloc or None,
            request_timeout=_TIMEOUT_SECONDS,
            connect_timeout=_CONNECT_SECONDS,
            allow_delayed_open=True,  # one request for an object
        )

    def _replace(self, folder: str, name: _ObjectName, table: Any) -> None:
        """Write an object, then delete those that hold the same rows.

        Rows that come again may be cut into other batches than before.
        """
        objects = self._find_objects(folder, name.segment)
        self._put(f"{folder}/{name}", table)
        for other in [other for other in objects if other != name and other.overlaps(name)]:
            with self._explain_errors():
                self._filesystem.delete_file(f"{folder}/{other}")
            objects.discard(other)
        objects.add(name)

    def _find_objects(self, folder: str, segment: str) -> set[_ObjectName]:
        if folder not in self._known_objects:
            with self._explain_errors():
                infos = self._filesystem.get_file_info(
                    fs.FileSelector(folder, allow_not_found=True)
                )
            matches = (_OBJECT_PATTERN.fullmatch(info.base_name) for info in infos)
            folder_id = segment.partition("-")[0]
            if len(self._known_objects) >= _MAX_KNOWN_FOLDERS:
                del self._known_objects[next(iter(self._known_objects))]
            self._known_objects[folder] = {
                _ObjectName(match[1], int(match[2]), int(match[3]))
                for match in matches
                if match is not None and match[1].startswith(f"{folder_id}-")
            }
        return self._known_objects[folder]

    def _read(self, path: str, columns: list[str] | None = None) -> Any:
        return pq.read_table(path, columns=columns, filesystem=self._filesystem, partitioning=None)

    def _put(self, path: str, table: Any) -> None:
        """Write an object whole, or not at all."""
        buffer = io.BytesIO()
        pq.write_table(table, buffer, **_COMPRESSION)
        with self._explain_errors():
            if self._is_local:
                Path(self._root).mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
                _write_file(Path(path), buffer.getvalue())
            else:
                with self._filesystem.open_output_stream(path) as stream:
                    stream.write(buffer.getvalue())

    @contextmanager
    def _explain_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            message = " ".join(str(error).split())[:_MAX_MESSAGE]
            if "checksum" in message:
                message = f"{message}: set AWS_REQUEST_CHECKSUM_CALCULATION=when_required"
            raise SinkError(f"{self._root}: {message}") from error


def _split_days(kind: RowKind, rows: Sequence[Any]) -> Iterator[tuple[str, list[Any]]]:
    """Yield the rows of each day (UTC), with the day's name."""
    rows_by_day = defaultdict[int, list[Any]](list)
    for row in rows:
        timestamp = min(max(kind.get_time(row), 0.0), _MAX_TIME)
        rows_by_day[int(timestamp // _DAY_SECONDS)].append(row)
    for day, day_rows in sorted(rows_by_day.items()):
        yield date.fromordinal(_EPOCH_ORDINAL + day).isoformat(), day_rows


def _write_file(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary_path = path.with_suffix(".new")
    with temporary_path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary_path.rename(path)
