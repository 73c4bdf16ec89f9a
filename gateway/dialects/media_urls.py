"""Images, documents and sounds that a request has by URL, where a target takes data alone.

    wanted   a request, and a target     -> the media to fetch, by URL
    filled   a request, and what came    -> the request with data in place of those URLs
    home     a body, and what came       -> the same for a target that speaks the client's dialect

Pure: who fetches is upstream. A plan is made with something that stands in for what is to come.
"""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from gateway.core import jsonio
from gateway.core.canonical_request import CanonicalRequest, Media, Part, ToolResult
from gateway.core.jsonio import Json
from gateway.core.target import Provider
from gateway.dialects import compatibility, reasoning_state
from gateway.dialects.base import RequestBody
from gateway.dialects.gemini import wire

type Object = dict[str, Json]

_WEB = ("http://", "https://")
_LONGEST = len(_WEB[1])
_NOUNS = {"image": "images", "file": "files", "audio": "audio", "video": "films"}
_MEMBERS = ("messages", "input", "contents")
"""Where the turns of a body are, by dialect; no dialect has two of them."""
_INNER = ("content", "parts", "output", "functionResponse", "function_response")
"""Members within turns and parts that hold further parts."""


class FetchedMedia(msgspec.Struct, frozen=True):
    """What stood at a URL."""

    type: str
    """Media type."""
    data: str
    """Base64."""

    @property
    def url(self) -> str:
        """It as a data URL."""
        return f"data:{self.type};base64,{self.data}"


_STAND_INS = {
    "image": FetchedMedia("image/png", "AAAA"),
    "file": FetchedMedia("application/pdf", "AAAA"),
    "audio": FetchedMedia("audio/wav", "AAAA"),
}
"""What a plan is made with: by kind, whatever it will be."""


def wanted(request: CanonicalRequest, door: str, provider: Provider) -> dict[str, Media]:
    """The media on the web that a provider takes as data alone in a dialect, by URL."""
    found = (part for part in _media(request) if _needs(part, door, provider))
    return {part.url: part for part in found if part.url is not None}


def standing(
    request: CanonicalRequest, door: str, provider: Provider, fetches: frozenset[str]
) -> tuple[CanonicalRequest, str]:
    """A request as it will be said once what may be fetched is here, and why it cannot be said.

    `fetches`: kinds of media that the gateway may fetch.
    """
    links = wanted(request, door, provider)
    if not links:
        return request, ""
    rest = [part for part in links.values() if part.kind not in fetches]
    standins = {url: _STAND_INS[it.kind] for url, it in links.items() if it.kind in fetches}
    if standins:
        request = filled(request, standins)
    if not rest or provider.media != "data":
        return request, ""  # fields.weigh has what the dialect says to the rest
    kind = rest[0].kind
    return request, f"{name(request, rest[0])}: {provider.name} takes {_NOUNS[kind]} as data alone"


def name(request: CanonicalRequest, part: Media) -> str:
    """What a part is called to the client."""
    return f"{request.names.get('turns', 'messages')}.{part.kind}"


def filled(request: CanonicalRequest, fetched: Mapping[str, FetchedMedia]) -> CanonicalRequest:
    """A request with what was fetched in place of its URL."""
    turns = tuple(
        msgspec.structs.replace(turn, parts=tuple(_fill(part, fetched) for part in turn.parts))
        for turn in request.turns
    )
    return msgspec.structs.replace(request, turns=turns)


def home(body: RequestBody, fetched: Mapping[str, FetchedMedia]) -> RequestBody:
    """A body with what was fetched in place of its URL; all other bytes stay as they are."""
    for member in _MEMBERS:
        if member not in body.members:
            continue
        raw = bytes(memoryview(body.members[member]))
        fixed = _Home(fetched).fix(raw, body.value[member])
        if fixed is raw:
            continue
        members = {**body.members, member: msgspec.Raw(fixed)}
        value = {**body.value, member: jsonio.loads(fixed)}
        body = RequestBody(jsonio.join(members), members, value, body.prompt)
    return body


def _media(request: CanonicalRequest) -> Iterator[Media]:
    for turn in request.turns:
        yield from _within(turn.parts)


def _within(parts: Iterable[Part]) -> Iterator[Media]:
    for part in parts:
        if isinstance(part, Media):
            yield part
        elif isinstance(part, ToolResult):
            yield from _within(part.parts)


def _needs(part: Media, door: str, provider: Provider) -> bool:
    """Whether a part is said by a URL of the web, and must be said as data."""
    url = part.url
    if url is None or part.id is not None or not url[:_LONGEST].lower().startswith(_WEB):
        return False
    if part.kind == "video" and compatibility.YOUTUBE in url:
        return False
    if compatibility.FIELDS[part.kind][door].way == "refused":
        return False
    refused = compatibility.FIELDS[f"{part.kind}_url"][door].way == "refused"
    return refused or provider.media == "data"


def _fill(part: Part, fetched: Mapping[str, FetchedMedia]) -> Part:
    if isinstance(part, ToolResult):
        inner = tuple(_filled(it, fetched) if isinstance(it, Media) else it for it in part.parts)
        return msgspec.structs.replace(part, parts=inner)
    return _filled(part, fetched) if isinstance(part, Media) else part


def _filled(part: Media, fetched: Mapping[str, FetchedMedia]) -> Media:
    found = fetched.get(part.url or "")
    if found is None:
        return part
    kind = part.kind
    if kind == "file" and found.type.startswith("image/"):
        kind = "image"  # Gemini's files say what they are by their type, which may be unsaid
    return msgspec.structs.replace(part, kind=kind, type=found.type, data=found.data, url=None)


class _Home:
    """The parts of one body, in the words of any of the four dialects."""

    def __init__(self, fetched: Mapping[str, FetchedMedia]) -> None:
        self._fetched = fetched

    def fix(self, raw: bytes, value: Json) -> bytes:
        """A part, or whatever holds parts."""
        if isinstance(value, list):
            return reasoning_state.each(self.fix)(raw, value) or raw
        if not isinstance(value, dict):
            return raw
        change = self._change(value)
        for member in _INNER if change is None else ():
            raw = reasoning_state.within(member, self.fix)(raw, value) or raw
        for member, said in (change or {}).items():
            raw = reasoning_state.put(raw, member, said)
        return raw

    def _change(self, part: Object) -> Object | None:
        """The members of a part that are to be others, None for those that go; or no change."""
        kind = part.get("type")
        held = part.get(kind) if isinstance(kind, str) else None
        match kind:
            case "image_url" | "video_url" | "document_url":
                return self._link(kind, held)
            case "input_image":
                found = self._find(part.get("image_url"))
                return None if found is None else {"image_url": found.url}
            case "input_file":
                return self._file(part)
            case "input_audio":
                return self._sound(held)
            case "file" if isinstance(held, dict):
                found = self._find(held.get("file_data"))
                return None if found is None else {"file": {**held, **_named(held, found)}}
            case "image" | "document":
                return self._source(part.get("source"))
            case _:
                return self._pointer(part)

    def _find(self, url: Json) -> FetchedMedia | None:
        return self._fetched.get(url) if isinstance(url, str) else None

    def _link(self, kind: str, held: Json) -> Object | None:
        found = self._find(held.get("url") if isinstance(held, dict) else held)
        if found is None:
            return None
        return {kind: {**held, "url": found.url} if isinstance(held, dict) else found.url}

    def _file(self, part: Object) -> Object | None:
        found = self._find(part.get("file_url"))
        return None if found is None else {"file_url": None, **_named(part, found)}

    def _sound(self, held: Json) -> Object | None:
        found = self._find(held.get("data") if isinstance(held, dict) else held)
        if found is None:
            return None
        said = {**held, "data": found.data} if isinstance(held, dict) else found.data
        return {"input_audio": said}

    def _source(self, source: Json) -> Object | None:
        found = self._find(source.get("url")) if isinstance(source, dict) else None
        if found is None:
            return None
        return {"source": {"type": "base64", "media_type": found.type, "data": found.data}}

    def _pointer(self, part: Object) -> Object | None:
        """A part of Gemini's that points to a file."""
        found = self._find(wire.get(wire.group(part, "fileData"), "fileUri"))
        if found is None:
            return None
        data = {"mimeType": found.type, "data": found.data}
        return {wire.spelled(part, "fileData"): None, "inlineData": data}


def _named(file: Object, found: FetchedMedia) -> Object:
    """A file as data, which must have a name."""
    name = file.get("filename") or "document.pdf"
    return {"filename": name, "file_data": found.url}
