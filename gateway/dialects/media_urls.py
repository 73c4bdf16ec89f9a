"""Images, documents and sounds that a request has by URL, for targets that accept only data.

    find_media_to_fetch   a request and a target        -> the media to fetch, by URL
    fill_stand_ins        a request                     -> the request with stand-ins, for a plan
    fill_request          a request and fetched media   -> the request with data in place of URLs
    fill_native_body      a body and fetched media      -> the same for a native target

This module does no I/O: the upstream package fetches the media.
"""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from gateway.core import jsonio
from gateway.core.canonical_request import CanonicalRequest, Media, Part, ToolResult
from gateway.core.jsonio import Json
from gateway.core.target import Provider
from gateway.dialects import compatibility, reasoning_state
from gateway.dialects.base import RequestBody
from gateway.dialects.gemini.content import find_spelling, get_member, get_object

type Object = dict[str, Json]

_WEB_SCHEMES = ("http://", "https://")
_MAX_SCHEME_CHARS = len(_WEB_SCHEMES[1])
_PLURAL_NOUNS = {"image": "images", "file": "files", "audio": "audio", "video": "films"}
_TURN_MEMBERS = ("messages", "input", "contents")
"""The members that hold the turns of a body; no dialect has two of them."""
_PART_MEMBERS = ("content", "parts", "output", "functionResponse", "function_response")
"""Members within turns and parts that hold further parts."""


class FetchedMedia(msgspec.Struct, frozen=True):
    """Media that the gateway fetched from a URL."""

    type: str
    """Media type."""
    data: str
    """Base64."""

    @property
    def data_url(self) -> str:
        """The media as a data URL."""
        return f"data:{self.type};base64,{self.data}"


_STAND_INS = {
    "image": FetchedMedia("image/png", "AAAA"),
    "file": FetchedMedia("application/pdf", "AAAA"),
    "audio": FetchedMedia("audio/wav", "AAAA"),
}
"""Stand-ins for media that the gateway has not fetched yet, by kind."""


def find_media_to_fetch(
    request: CanonicalRequest, dialect_name: str, provider: Provider
) -> dict[str, Media]:
    """Return the media at URLs that a provider accepts only as data in a dialect, by URL."""
    parts = (part for part in _iterate_media(request) if _needs_fetch(part, dialect_name, provider))
    return {part.url: part for part in parts if part.url is not None}


def fill_stand_ins(
    request: CanonicalRequest, dialect_name: str, provider: Provider, fetched_kinds: frozenset[str]
) -> tuple[CanonicalRequest, str]:
    """Return a request with stand-ins for media to fetch, and why the target cannot get it.

    The reason is empty if it can. `fetched_kinds` are the kinds that the gateway may fetch.
    """
    media_by_url = find_media_to_fetch(request, dialect_name, provider)
    if not media_by_url:
        return request, ""
    unfetched = [part for part in media_by_url.values() if part.kind not in fetched_kinds]
    stand_ins = {
        url: _STAND_INS[media.kind]
        for url, media in media_by_url.items()
        if media.kind in fetched_kinds
    }
    if stand_ins:
        request = fill_request(request, stand_ins)
    if not unfetched or provider.media != "data":
        return request, ""  # compatibility.check_request judges the other URLs
    kind = unfetched[0].kind
    name = format_name(request, unfetched[0])
    return request, f"{name}: {provider.name} takes {_PLURAL_NOUNS[kind]} as data alone"


def format_name(request: CanonicalRequest, part: Media) -> str:
    """Return the client's name of a part."""
    return f"{request.names.get('turns', 'messages')}.{part.kind}"


def fill_request(
    request: CanonicalRequest, fetched: Mapping[str, FetchedMedia]
) -> CanonicalRequest:
    """A request with what was fetched in place of its URL."""
    turns = tuple(
        msgspec.structs.replace(turn, parts=tuple(_fill_part(part, fetched) for part in turn.parts))
        for turn in request.turns
    )
    return msgspec.structs.replace(request, turns=turns)


def fill_native_body(body: RequestBody, fetched: Mapping[str, FetchedMedia]) -> RequestBody:
    """A body with what was fetched in place of its URL; all other bytes stay as they are."""
    for member in _TURN_MEMBERS:
        if member not in body.members:
            continue
        raw = bytes(memoryview(body.members[member]))
        new_raw = _NativeBodyFiller(fetched).fill(raw, body.value[member])
        if new_raw is raw:
            continue
        members = {**body.members, member: msgspec.Raw(new_raw)}
        value = {**body.value, member: jsonio.loads(new_raw)}
        body = RequestBody(jsonio.join_members(members), members, value, body.prompt)
    return body


def _iterate_media(request: CanonicalRequest) -> Iterator[Media]:
    for turn in request.turns:
        yield from _iterate_part_media(turn.parts)


def _iterate_part_media(parts: Iterable[Part]) -> Iterator[Media]:
    for part in parts:
        if isinstance(part, Media):
            yield part
        elif isinstance(part, ToolResult):
            yield from _iterate_part_media(part.parts)


def _needs_fetch(part: Media, dialect_name: str, provider: Provider) -> bool:
    """Return True if a part has a URL of the web where the target takes only data."""
    url = part.url
    if (
        url is None
        or part.id is not None
        or not url[:_MAX_SCHEME_CHARS].lower().startswith(_WEB_SCHEMES)
    ):
        return False
    if part.kind == "video" and compatibility.YOUTUBE_URL_PART in url:
        return False
    if compatibility.FIELD_RULES[part.kind][dialect_name].treatment == "refused":
        return False
    refuses_url = compatibility.FIELD_RULES[f"{part.kind}_url"][dialect_name].treatment == "refused"
    return refuses_url or provider.media == "data"


def _fill_part(part: Part, fetched: Mapping[str, FetchedMedia]) -> Part:
    if isinstance(part, ToolResult):
        inner_parts = tuple(
            _fill_media(inner_part, fetched) if isinstance(inner_part, Media) else inner_part
            for inner_part in part.parts
        )
        return msgspec.structs.replace(part, parts=inner_parts)
    return _fill_media(part, fetched) if isinstance(part, Media) else part


def _fill_media(part: Media, fetched: Mapping[str, FetchedMedia]) -> Media:
    media = fetched.get(part.url or "")
    if media is None:
        return part
    kind = part.kind
    if kind == "file" and media.type.startswith("image/"):
        kind = "image"  # Gemini's files say what they are by their type, which may be unsaid
    return msgspec.structs.replace(part, kind=kind, type=media.type, data=media.data, url=None)


class _NativeBodyFiller:
    """The parts of one body, in the words of any of the four dialects."""

    def __init__(self, fetched: Mapping[str, FetchedMedia]) -> None:
        self._fetched = fetched

    def fill(self, raw: bytes, value: Json) -> bytes:
        """A part, or whatever holds parts."""
        if isinstance(value, list):
            return reasoning_state.fix_items(self.fill)(raw, value) or raw
        if not isinstance(value, dict):
            return raw
        changed_members = self._find_changes(value)
        for member in _PART_MEMBERS if changed_members is None else ():
            raw = reasoning_state.fix_member(member, self.fill)(raw, value) or raw
        for member, new_value in (changed_members or {}).items():
            raw = reasoning_state.set_member(raw, member, new_value)
        return raw

    def _find_changes(self, part: Object) -> Object | None:
        """Return the new members of a part, None for one that goes; None if none changes."""
        kind = part.get("type")
        media_object = part.get(kind) if isinstance(kind, str) else None
        match kind:
            case "image_url" | "video_url" | "document_url":
                return self._change_link(kind, media_object)
            case "input_image":
                media = self._find_media(part.get("image_url"))
                return None if media is None else {"image_url": media.data_url}
            case "input_file":
                return self._change_file(part)
            case "input_audio":
                return self._change_audio(media_object)
            case "file" if isinstance(media_object, dict):
                media = self._find_media(media_object.get("file_data"))
                return (
                    None
                    if media is None
                    else {"file": {**media_object, **_build_named_file(media_object, media)}}
                )
            case "image" | "document":
                return self._change_source(part.get("source"))
            case _:
                return self._change_file_data(part)

    def _find_media(self, url: Json) -> FetchedMedia | None:
        return self._fetched.get(url) if isinstance(url, str) else None

    def _change_link(self, kind: str, media_object: Json) -> Object | None:
        media = self._find_media(
            media_object.get("url") if isinstance(media_object, dict) else media_object
        )
        if media is None:
            return None
        return {
            kind: {**media_object, "url": media.data_url}
            if isinstance(media_object, dict)
            else media.data_url
        }

    def _change_file(self, part: Object) -> Object | None:
        media = self._find_media(part.get("file_url"))
        return None if media is None else {"file_url": None, **_build_named_file(part, media)}

    def _change_audio(self, media_object: Json) -> Object | None:
        media = self._find_media(
            media_object.get("data") if isinstance(media_object, dict) else media_object
        )
        if media is None:
            return None
        new_audio = (
            {**media_object, "data": media.data} if isinstance(media_object, dict) else media.data
        )
        return {"input_audio": new_audio}

    def _change_source(self, source: Json) -> Object | None:
        media = self._find_media(source.get("url")) if isinstance(source, dict) else None
        if media is None:
            return None
        return {"source": {"type": "base64", "media_type": media.type, "data": media.data}}

    def _change_file_data(self, part: Object) -> Object | None:
        """A part of Gemini's that points to a file."""
        media = self._find_media(get_member(get_object(part, "fileData"), "fileUri"))
        if media is None:
            return None
        data = {"mimeType": media.type, "data": media.data}
        return {find_spelling(part, "fileData"): None, "inlineData": data}


def _build_named_file(file: Object, media: FetchedMedia) -> Object:
    """A file as data, which must have a name."""
    name = file.get("filename") or "document.pdf"
    return {"filename": name, "file_data": media.data_url}
