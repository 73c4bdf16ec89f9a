"""A form that may pass while it arrives: the fields that the gateway decides by, and its batch.

The gateway reads the beginning of a form, decides, and sends it on. A field that comes behind that
could change what it has decided, so it is refused. The official SDKs can send fields first.
"""

import re

from gateway.core.batch_file import BatchFileFacts, BatchFileReader
from gateway.core.errors import ProblemError, invalid_request
from gateway.core.jsonio import Json
from gateway.core.multipart import ContentSink, FormPart, MultipartReader
from gateway.core.object_ids import TABLES, ObjectApi

_BATCH_PURPOSE = b"batch"
_NESTED_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\]){0,8})")
"""The name of a field within others, as `video[id]` or `file_ids[]`."""


class UploadForm:
    """The reader of one form, an inspector of its upload."""

    def __init__(self, content_type: str, api: ObjectApi, *, guards_fields: bool) -> None:
        """Take the content type of the request.

        With `guards_fields` all fields must stand in the beginning of the form; else those that may
        name objects. Raises ProblemError for another content type.
        """
        self._table = TABLES[api]
        self._guards_fields = guards_fields
        self._batch_reader: BatchFileReader | None = None
        self._reader = MultipartReader(content_type, self._open_sink)
        self._is_decided = False
        """True if the gateway has decided by the beginning of the form."""
        self.batch: BatchFileFacts | None = None
        """The batch in the file of the form, if that is one; set at its end."""

    @property
    def is_slow(self) -> bool:
        """True if the file has a line that takes long to read."""
        return self._batch_reader is not None and self._batch_reader.is_slow

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Raises ProblemError if they are no form, or come too late."""
        self._reader.feed(data)

    def finish(self) -> None:
        """Take the end of the form. Raises ProblemError if it is not complete."""
        self._reader.finish()
        purpose = self._reader.find_field("purpose")
        if self._batch_reader and purpose and purpose.value == _BATCH_PURPOSE:
            self.batch = self._batch_reader.finish()

    def end_beginning(self) -> None:
        """Note that the form goes on as it arrives. Raises ProblemError if a field is not whole."""
        if self._reader.is_in_part and self._is_guarded(self._reader.parts[-1]):
            raise _make_late_error(self._reader.parts[-1])
        self._is_decided = True

    def find_field(self, name: str) -> FormPart | None:
        """Return the only field of a name; see MultipartReader."""
        return self._reader.find_field(name)

    def read_fields(self) -> dict[str, Json]:
        """Return the short fields that have arrived, nested as their names say.

        A name that is there twice has a list. Raises ProblemError if a field that may name objects
        is long.
        """
        fields: dict[str, Json] = {}
        for part in self._reader.parts:
            if part.value is not None:
                is_named = _find_base(part) in self._table.names
                if is_named and part.value.lstrip()[:1] in (b"{", b"["):
                    raise _make_json_error(part)
                _add_field(fields, part.name, part.value.decode("utf-8", "replace"))
            elif part.filename is None and _find_base(part) in self._table.names:
                raise _make_text_error(part)
        return fields

    def _open_sink(self, part: FormPart) -> ContentSink | None:
        if self._is_decided and self._is_guarded(part):
            raise _make_late_error(part)
        if part.filename is None:
            return None
        if _find_base(part) in {"model", "purpose", *self._table.members}:
            raise _make_text_error(part)
        if part.name != "file":
            return None
        if self._batch_reader is not None:
            raise invalid_request("The form has several parts with the name file.", "file")
        self._batch_reader = BatchFileReader()
        return self._batch_reader.feed

    def _is_guarded(self, part: FormPart) -> bool:
        """True if the gateway may decide by the value of a part."""
        is_field = part.filename is None
        return is_field and (self._guards_fields or _find_base(part) in self._table.names)


def _find_base(part: FormPart) -> str:
    return part.name.partition("[")[0]


def _add_field(fields: dict[str, Json], name: str, value: Json) -> None:
    """Add a field to those that came before it. Raises ProblemError if its name is not valid."""
    match = _NESTED_NAME.fullmatch(name)
    if match is None:
        raise invalid_request("A field of the form has brackets in its name that do not nest.")
    for key in reversed(match[2][1:-1].split("][") if match[2] else ()):
        value = [value] if not key or key.isdigit() else {key: value}
    _merge(fields, {match[1]: value})


def _merge(fields: dict[str, Json], added: dict[str, Json]) -> None:
    for name, value in added.items():
        if name not in fields:
            fields[name] = value
        elif isinstance(fields[name], dict) and isinstance(value, dict):
            _merge(fields[name], value)
        else:
            fields[name] = [*_as_list(fields[name]), *_as_list(value)]


def _as_list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else [value]


def _make_late_error(part: FormPart) -> ProblemError:
    name = _find_base(part)
    return invalid_request(f"Send the field `{name}` of the form before its files.", name)


def _make_json_error(part: FormPart) -> ProblemError:
    name = _find_base(part)
    return invalid_request(
        f"Write `{name}` of the form as fields, `{name}[id]`, not as JSON.", name
    )


def _make_text_error(part: FormPart) -> ProblemError:
    name = _find_base(part)
    return invalid_request(f"The part `{name}` of the form must be a short text.", name)
