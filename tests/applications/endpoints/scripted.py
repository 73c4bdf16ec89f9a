"""The frame of a scripted provider that keeps its objects in memory.

It answers in the provider's own form, so ids mean something: a file that was deleted is gone. Ids
count from one, so that two runs of the same calls have the same ids. Nothing here imports the
gateway.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from email.parser import BytesParser
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

from tests.e2e.upstream import Answer, Request

type Json = Any
type Handler = Callable[..., Json | Answer]

CREATED_AT = 1_764_500_000
"""The time at which everything here was made, in seconds since the epoch."""
CREATED = "2026-11-30T12:00:00Z"


class NotThere(Exception):
    """An object that the provider does not have."""


class Shelf(dict[str, Json]):
    """Objects of one kind by id."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix, self._count = prefix, 0

    def new_id(self) -> str:
        """Return the id of a new object."""
        self._count += 1
        return f"{self._prefix}{self._count:04d}"

    def get_one(self, id: str) -> Json:
        """Return an object. Raises NotThere."""
        if id not in self:
            raise NotThere(id)
        return self[id]

    def remove(self, id: str) -> Json:
        """Delete an object and return it. Raises NotThere."""
        self.get_one(id)
        return self.pop(id)


@dataclass(frozen=True)
class Form:
    """A request with its body read."""

    request: Request
    query: Mapping[str, list[str]]
    fields: Mapping[str, str]
    """The fields of a form, without its files."""
    files: Mapping[str, tuple[str, bytes]]
    """The files of a form: name and content, by field."""

    @property
    def json(self) -> Json:
        """The JSON body; an empty object if there is no body."""
        return self.request.json if self.request.body else {}


@dataclass
class ScriptedApi:
    """One provider's API: its routes, and the error of an object that is not there."""

    prefix: str
    """The path before the API's own paths, as `/openai/v1`."""
    routes: list[tuple[str, re.Pattern[str], Handler]] = field(default_factory=list)

    def on(self, method: str, path: str, handler: Handler) -> None:
        """Answer requests for a path; each `{}` in it is an argument of the handler."""
        pattern = re.escape(path).replace(r"\{\}", r"([^/:]+)")
        self.routes.append((method, re.compile(pattern), handler))

    def answer(self, request: Request) -> Answer:
        """Answer one request."""
        parts = urlsplit(request.path)
        path = parts.path.removeprefix(self.prefix)
        for method, pattern, handler in self.routes:
            match = pattern.fullmatch(path)
            if match is None or method != request.method:
                continue
            try:
                value = handler(read_form(request, parts.query), *match.groups())
            except NotThere as error:
                return write_json(self.describe_absence(str(error)), 404)
            return value if isinstance(value, Answer) else write_json(value)
        return write_json(self.describe_absence(f"{request.method} {path}"), 404)

    def describe_absence(self, subject: str) -> Json:
        """Return the body of a 404 in this API's form."""
        return {"error": {"message": f"No such object: {subject}", "type": "invalid_request_error"}}


def read_form(request: Request, query: str) -> Form:
    """Read a request: a form into its fields and files, other bodies not at all."""
    fields: dict[str, str] = {}
    files: dict[str, tuple[str, bytes]] = {}
    content_type = request.header("content-type") or ""
    if content_type.startswith("multipart/form-data"):
        head = f"content-type: {content_type}\r\n\r\n".encode()
        for part in BytesParser().parsebytes(head + request.body).walk():
            name = part.get_param("name", header="content-disposition")
            if not isinstance(name, str):
                continue
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            filename = part.get_filename()
            if filename is None:
                fields[name] = content.decode()
            else:
                files[name] = (filename, content)
    return Form(request, parse_qs(query), fields, files)


def write_json(value: Json, status: int = 200) -> Answer:
    """Write a JSON answer."""
    body = orjson.dumps(value)
    return Answer(pieces=(body,), status=status, length=len(body))


def write_bytes(body: bytes, content_type: str = "application/octet-stream") -> Answer:
    """Write an answer that is a file."""
    return Answer(pieces=(body,), headers=(("content-type", content_type),), length=len(body))


def write_events(events: Iterable[tuple[str, Json]], *, done: bool = False) -> Answer:
    """Write a stream of server-sent events; an empty name is left out."""
    frames = [
        (f"event: {name}\n".encode() if name else b"") + b"data: " + orjson.dumps(value) + b"\n\n"
        for name, value in events
    ]
    if done:
        frames.append(b"data: [DONE]\n\n")
    return Answer(pieces=tuple(frames), headers=(("content-type", "text/event-stream"),))
