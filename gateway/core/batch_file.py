"""Read the requests of a batch file as its bytes pass: their number, models, bounds and objects.

A batch file is JSON, one request a line: `{"custom_id", "method", "url", "body"}` at OpenAI,
`{"key", "request"}` at Gemini. The gateway checks a batch against limits and owners of objects when
it is created, and by then the file is at the provider.
"""

import re
from collections.abc import Iterable, Mapping

import msgspec

from gateway.core import json_size, jsonio
from gateway.core.errors import ProblemError
from gateway.core.jsonio import Json, JsonError, Members
from gateway.core.object_ids import (
    ObjectApi,
    call_may_name_objects,
    find_item_references,
    find_objects,
)

MAX_LINE_BYTES = 10_000_000
_MAX_MODELS = 100
_MAX_IDS = 1000
_API_BY_MEMBER: dict[str, ObjectApi] = {"body": "openai", "request": "gemini"}
"""The API of a line, by the member that has the request."""
_CAPS: Mapping[str, tuple[str, ...]] = {
    "openai-chat": ("max_completion_tokens", "max_tokens"),
    "openai-responses": ("max_output_tokens",),
    "gemini": ("maxOutputTokens", "max_output_tokens"),
}
"""The caps on output by dialect. A provider may ignore what is not its own, so that is no cap."""
_ANSWER_COUNTS = ("best_of", "n", "candidateCount", "candidate_count")
_GEMINI_CONFIGS = ("generationConfig", "generation_config")
_IMAGE_NAME = re.compile(rb'"(?:image_url|inline_?[dD]ata)"[ \t\r\n]*:')
"""The member that has an image; the types of parts have the same words, and no colon."""
_AUDIO_NAME = re.compile(rb'"input_audio"[ \t\r\n]*:|"mime_?[tT]ype"[ \t\r\n]*:[ \t\r\n]*"audio/')
"""The member that has sound."""
_IMAGE_URL_NAME = re.compile(rb'"image_url"[ \t\r\n]*:')
_URL_NAME = re.compile(rb'_url"[ \t\r\n]*:')
_INLINE_NAME = re.compile(rb'"inline_?[dD]ata"[ \t\r\n]*:')
_INLINE_IMAGE_TYPE = re.compile(rb'"mime_?[tT]ype"[ \t\r\n]*:[ \t\r\n]*"(?:image|audio)/')
_UNSIZED_NAME = re.compile(
    rb'"(?:file_?(?:[dD]ata|[iI]d|[uU]ri)|cached_?[cC]ontent|previous_response_id|conversation'
    rb'|web_search_options)"[ \t\r\n]*:'
)
"""A member that makes the model read what the request does not show."""
_SIZED_TOOLS = frozenset({"function", "custom", "functionDeclarations", "function_declarations"})


class BatchModelFacts(msgspec.Struct, kw_only=True):
    """The requests of a batch file for one model."""

    requests: int = 0
    prompt_bytes: int = 0
    """The bytes of the requests, whose prompts have no more tokens than that, beside images."""
    largest_bytes: int = 0
    """The bytes of the largest request."""
    images: int = 0
    most_images: int = 0
    """The most images of one request."""
    sounds: int = 0
    unsized_requests: int = 0
    """Requests whose model reads more than they show: files, earlier answers, search."""
    answers: int = 0
    capped_tokens: int = 0
    """The sum of the caps on output, each times the number of answers."""
    uncapped_answers: int = 0
    """Answers whose request has no cap."""


class BatchFileFacts(msgspec.Struct, kw_only=True):
    """Facts that the gateway keeps of a batch file."""

    size: int = 0
    """The number of bytes."""
    problem: str = ""
    """Why the rest is not the whole truth; empty if it is."""
    models: dict[str, BatchModelFacts] = {}
    """By the name in the requests; empty for a batch that names its model elsewhere."""
    object_ids: list[str] = []
    """The ids of objects that requests name."""


class BatchFileReader:
    """A reader of one batch file. It keeps at most one line."""

    def __init__(self) -> None:
        self.facts = BatchFileFacts()
        self._line_pieces: list[bytes] = []
        """The line that has begun."""
        self._line_bytes = 0
        self._line_count = 0
        self._object_ids: dict[str, None] = {}

    @property
    def is_slow(self) -> bool:
        """True if the line that has begun is so long that it takes long to read."""
        return self._line_bytes > json_size.LARGE_FRAME_BYTES

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Never raises."""
        self.facts.size += len(data)
        if self.facts.problem:
            return
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._line_pieces.append(end)
            line = b"".join(self._line_pieces)
            self._line_pieces.clear()
            self._line_bytes = 0
            if not self._read_line(line):
                return
        self._line_bytes += len(rest)
        if self._line_bytes > MAX_LINE_BYTES:
            self._line_count += 1
            self._stop(f"has more than {MAX_LINE_BYTES:,} bytes")
        elif rest:
            self._line_pieces.append(rest)

    def finish(self) -> BatchFileFacts:
        """Take the end of the file, and return its facts."""
        facts = self.facts
        line = b"".join(self._line_pieces)
        self._line_pieces.clear()
        is_read = not facts.problem and self._read_line(line)
        if is_read and not facts.models:
            facts.problem = "The file has no request."
        facts.object_ids = list(self._object_ids)
        return facts

    def _stop(self, reason: str) -> None:
        """Give up: the file is not what a provider takes, or more than the gateway reads."""
        self.facts.problem = f"Line {self._line_count:,} of the file {reason}."
        self._line_pieces.clear()

    def _read_line(self, line: bytes) -> bool:
        """Read a whole line; return False if the gateway gives up."""
        self._line_count += 1
        try:
            if len(line) > MAX_LINE_BYTES:
                self._stop(f"has more than {MAX_LINE_BYTES:,} bytes")
            elif json_size.exceeds(line, json_size.MAX_VALUES):
                self._stop(
                    f"has more than {json_size.MAX_VALUES:,} JSON values, or more than"
                    f" {json_size.COMPLEX_TEXT_BOUND}"
                )
            elif line.strip():
                self._add_request(line)
        except JsonError:
            self._stop("is no request of a batch")
        except ProblemError as error:
            self._stop(f"names objects in a way that the gateway cannot read: {error}")
        return not self.facts.problem

    def _add_request(self, line: bytes) -> None:
        """Add one request. Raises JsonError, and ProblemError as `find_objects` does."""
        members = _read_unique(line)
        places = [name for name in _API_BY_MEMBER if name in members]
        if len(places) != 1:
            raise JsonError("no request, or two")
        api, body = _API_BY_MEMBER[places[0]], bytes(members[places[0]])
        request = _read_unique(body)
        if api == "gemini":
            model, config, dialect = "", _read_config(request), "gemini"
        else:
            # Mistral names the model in the batch.
            model, config = _load(request, "model") if "model" in request else "", request
            is_responses = _load(members, "url") == "/v1/responses"
            dialect = "openai-responses" if is_responses else "openai-chat"
        if not isinstance(model, str):
            raise JsonError("no model")
        facts = self.facts.models.setdefault(model, BatchModelFacts())
        if len(self.facts.models) > _MAX_MODELS:
            self._stop(f"is for more than {_MAX_MODELS} models together with those before it")
            return
        answers = max([1, *_read_counts(config, _ANSWER_COUNTS)])
        cap = max(_read_counts(config, _CAPS[dialect]), default=None)
        facts.requests += 1
        facts.prompt_bytes += len(body)
        facts.largest_bytes = max(facts.largest_bytes, len(body))
        facts.answers += answers
        if b"image_url" in body or b'"inline' in body:  # most have none: this costs little
            images = len(_IMAGE_NAME.findall(body))
            facts.images += images
            facts.most_images = max(facts.most_images, images)
        if b"audio" in body:
            facts.sounds += len(_AUDIO_NAME.findall(body))
        if cap is None:
            facts.uncapped_answers += answers
        else:
            facts.capped_tokens += cap * answers
        may_name = "previous_response_id" in request or call_may_name_objects(
            dialect, body, request
        )
        references = _find_references(body, request) if api == "openai" else []
        if may_name or references or _has_unsized_part(body) or _has_hosted_tool(request):
            facts.unsized_requests += 1
        if may_name:
            self._add_ids(item.id for item in find_objects(api, body, jsonio.loads(body)))
        self._add_ids(references)

    def _add_ids(self, ids: Iterable[str]) -> None:
        self._object_ids.update(dict.fromkeys(ids))
        if len(self._object_ids) > _MAX_IDS:
            self._stop(f"names more than {_MAX_IDS:,} objects together with those before it")


def _read_unique(data: bytes) -> Members:
    """Return the members of an object. Raises JsonError if a name stands twice."""
    members = jsonio.read_members(data)
    if jsonio.has_repeated_member(data, members):
        raise JsonError("a member stands twice")
    return members


def _read_config(request: Members) -> Members:
    """Return the generation config of a Gemini request."""
    given = [name for name in _GEMINI_CONFIGS if name in request]
    if len(given) > 1:
        raise JsonError("two configs")
    return _read_unique(bytes(request[given[0]])) if given else {}


def _find_references(body: bytes, request: Members) -> list[str]:
    """Return the ids of items of earlier answers that a request refers to."""
    if "input" not in request or not (b'"id"' in body or b"\\u00" in body):
        return []
    return find_item_references({"input": _load(request, "input")})


def _load(members: Members, name: str) -> Json:
    return jsonio.loads(memoryview(members[name])) if name in members else None


def _read_counts(members: Members, names: Iterable[str]) -> list[int]:
    """Return the numbers that these members give. Raises JsonError if one is no count."""
    counts = []
    for name in names:
        value = _load(members, name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise JsonError(f"{name} is no count")
        counts.append(value)
    return counts


def _has_unsized_part(body: bytes) -> bool:
    """True if a part of the prompt is more than its bytes show: no text, image or sound."""
    if b'_url"' in body and len(_URL_NAME.findall(body)) > len(_IMAGE_URL_NAME.findall(body)):
        return True
    if b'"inline' in body and len(_INLINE_NAME.findall(body)) > len(
        _INLINE_IMAGE_TYPE.findall(body)
    ):
        return True
    return _UNSIZED_NAME.search(body) is not None


def _has_hosted_tool(request: Members) -> bool:
    """True if a tool of the provider adds to what the model reads, or a stored prompt does."""
    if isinstance(_load(request, "prompt"), dict):
        return True
    tools = _load(request, "tools")
    if not isinstance(tools, list):
        return tools is not None
    return not all(isinstance(tool, dict) and _is_sized(tool) for tool in tools)


def _is_sized(tool: dict[str, Json]) -> bool:
    """True if a tool is the client's own: its type says so at OpenAI, its members at Gemini."""
    kind = tool.get("type")
    return (isinstance(kind, str) and kind in _SIZED_TOOLS) or (
        "type" not in tool and tool.keys() <= _SIZED_TOOLS
    )
