"""Pass-through endpoints as data, and the match of a client's path with them.

A provider has endpoints beside text and embeddings: images, audio, files, batches. The gateway
serves those of its tables without translation. What no table lists does not exist for clients.

A client's path is split at its slashes, then each segment is decoded once and compared. The path
towards the provider is built anew from the template, so nothing of the client's spelling goes on.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Literal
from urllib.parse import quote, unquote_to_bytes

import msgspec

from gateway.core.object_ids import is_shared
from gateway.core.target import Provider, Targets

type Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
type BodyKind = Literal["none", "json", "multipart", "bytes"]
"""The body of a request: `bytes` are passed on unread, `multipart` may also be JSON."""
type ModelPlace = Literal["none", "body", "path"]
"""The place of the model in a request; `none` if the endpoint has no model."""
type Billing = Literal["free", "usage", "units", "job", "unknown"]
"""The way in which a provider bills an endpoint.

`free`: not at all. `usage`: by tokens or units that the answer reports. `units`: by what the
request shows, such as characters. `job`: when a job ends that the request begins. `unknown`: in a
way that neither shows.
"""

OBJECT_KINDS: Mapping[str, str] = {
    "batch_id": "batch",
    "cache_id": "cached_content",
    "character_id": "character",
    "container_id": "container",
    "conversation_id": "conversation",
    "file_id": "file",
    "file_search_store_id": "file_search_store",
    "fine_tuning_job_id": "fine_tuning_job",
    "interaction_id": "interaction",
    "operation_id": "operation",
    "response_id": "response",
    "skill_id": "skill",
    "upload_id": "upload",
    "vector_store_id": "vector_store",
    "video_id": "video",
}
"""The kinds of owned objects, by the placeholder in a path. Other placeholders, such as `item_id`,
stand for parts of such an object. No path names a part of an upload, which is an object too."""

_MAX_PATH_BYTES = 2048
_SEGMENT_PATTERN = re.compile(r"[A-Za-z0-9._~@+=\-]{1,256}")
"""The characters that an id or a model in a path may have: no slash, percent or colon."""
_PLACEHOLDER_PATTERN = re.compile(r"\{(\w+)\}")


class PassThroughEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint of a provider that the gateway serves without translation."""

    name: str
    """The name in rows and metrics, as `images.generate`."""
    method: Method
    path: str
    """The path below the prefix of its table, as `/files/{file_id}/content`."""
    body: BodyKind = "none"
    is_upload: bool = False
    """True if the body may be as large as `server.max_upload`; it is sent once, as it comes."""
    model: ModelPlace = "none"
    streams: bool = False
    """True if the answer may be a stream of server-sent events."""
    billing: Billing = "free"
    unit: str = ""
    """The unit that the provider bills, if that is not tokens: `image`, `second`, `page`."""
    creates: str = ""
    """The kind of object that the answer describes as new; empty if it creates none."""
    lists: str = ""
    """The kind of object that the answer lists; empty if it lists none."""
    list_member: str = "data"
    """The member of the answer that has the list."""
    deletes: bool = False
    """True if the object in the path is gone after the call."""
    makes: Mapping[str, str] = {}
    """The kinds of further objects that the provider made, by the members that have their ids.

    The members are those of the answer, or of each item of the list that it has."""
    url_members: tuple[str, ...] = ()
    """Members of the answer, or of each item of its list, with URLs of the provider that a client
    opens: they must lead to the gateway."""
    upload_header: str = ""
    """The header of the answer with the URL of the provider to which the client sends its data."""

    @property
    def bills_answer(self) -> bool:
        """True if the provider bills what an answer gives; a job is billed when it ends."""
        return self.billing not in ("free", "job")

    @property
    def placeholders(self) -> tuple[str, ...]:
        """The names in the path template, in order."""
        return tuple(_PLACEHOLDER_PATTERN.findall(self.path))

    @property
    def needs_answer(self) -> bool:
        """True if the gateway must read a JSON answer: for money, objects or URLs."""
        is_about_objects = bool(self.creates or self.lists or self.makes or self.deletes)
        return self.billing != "free" or is_about_objects or bool(self.url_members)


class PassThroughTable(msgspec.Struct, frozen=True, kw_only=True):
    """Endpoints that providers offer together. A provider names the tables that it serves."""

    name: str
    """The name in the configuration, as `openai-files`."""
    prefix: str
    """The beginning of the paths of clients, as `/v1`."""
    dialect: str
    """The dialect whose clients use the endpoints; errors have its form."""
    endpoints: tuple[PassThroughEndpoint, ...]
    has_resource_names: bool = False
    """True if an id is the path of its object, as Gemini's `files/abc`."""


class ProviderEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint at a provider."""

    endpoint: PassThroughEndpoint
    table: PassThroughTable
    provider: Provider
    lab: str
    """The lab of the provider's models."""
    base_url: str
    """The URL before the endpoint's path."""
    targets: Targets | None = None
    """The targets of the provider's models by name, with their facts and prices."""

    def build_url(self, parameters: Mapping[str, str], query: str = "") -> str:
        """Return the provider's URL, with the parameters of the path encoded."""
        path = _fill(self.endpoint.path, parameters)
        return f"{self.base_url}{path}?{query}" if query else f"{self.base_url}{path}"

    def list_object_ids(self, parameters: Mapping[str, str]) -> list[str]:
        """Return the ids of owned objects in a path, as the provider's answers have them.

        Everybody may look at what every client of the provider has.
        """
        is_look = self.endpoint.method == "GET"
        return [
            self._name_object(placeholder, parameters)
            for placeholder in self.endpoint.placeholders
            if (kind := OBJECT_KINDS.get(placeholder)) is not None
            and not (is_look and is_shared(kind, parameters[placeholder]))
        ]

    def _name_object(self, placeholder: str, parameters: Mapping[str, str]) -> str:
        if not self.table.has_resource_names:
            return parameters[placeholder]
        before = self.endpoint.path.partition(f"{{{placeholder}}}")[0].lstrip("/")
        return _fill(before, parameters) + parameters[placeholder]


class PassThroughMatch(msgspec.Struct, frozen=True):
    """A client's path that matches endpoints of one or several providers."""

    candidates: tuple[ProviderEndpoint, ...]
    """The endpoints in the order of the configuration; all have the same path template."""
    parameters: dict[str, str]
    """The decoded parameters in the path, by placeholder."""

    def prefer_dialect(self, dialect: str) -> "PassThroughMatch":
        """Return the endpoints for clients of a dialect, or all: two APIs may share a path."""
        candidates = tuple(item for item in self.candidates if item.table.dialect == dialect)
        return PassThroughMatch(candidates, self.parameters) if candidates else self


class _Route:
    """The endpoints that have one path template."""

    def __init__(self, template: str) -> None:
        self._template = template
        self.candidates: list[ProviderEndpoint] = []

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The pattern of the template, compiled where a path first needs it: few commands do."""
        return _compile(self._template)


class PassThroughRoutes:
    """All pass-through endpoints of the providers that are on."""

    def __init__(self, endpoints: Iterable[ProviderEndpoint] = ()) -> None:
        self._routes: dict[int, dict[str, dict[str, _Route]]] = {}
        """Routes by number of segments, method and template."""
        self._by_name: dict[tuple[str, str], ProviderEndpoint] = {}
        for item in endpoints:
            self._by_name.setdefault((item.provider.name, item.endpoint.name), item)
            template = item.table.prefix + item.endpoint.path
            by_method = self._routes.setdefault(template.count("/"), {})
            routes = by_method.setdefault(item.endpoint.method, {})
            route = routes.setdefault(template, _Route(template))
            route.candidates.append(item)
        for by_method in self._routes.values():
            for method, routes in by_method.items():  # `/a/b` comes before `/a/{b}`
                by_method[method] = dict(
                    sorted(routes.items(), key=lambda item: item[0].count("{"))
                )

    def match(self, method: str, raw_path: bytes) -> PassThroughMatch | None:
        """Return the endpoints at a client's path, which is not decoded; None without any."""
        path = _decode_path(raw_path)
        if path is None:
            return None
        for route in self._routes.get(path.count("/"), {}).get(method, {}).values():
            if (match := route.pattern.fullmatch(path)) is not None:
                return PassThroughMatch(tuple(route.candidates), match.groupdict())
        return None

    def find(self, provider: str, name: str) -> ProviderEndpoint | None:
        """Return an endpoint of a provider by its name; None if the provider has none."""
        return self._by_name.get((provider, name))

    def list_endpoints(self, name: str) -> list[ProviderEndpoint]:
        """Return the endpoints of a name at all providers that have it."""
        return [item for item in self._by_name.values() if item.endpoint.name == name]

    def list_methods(self, raw_path: bytes) -> list[str]:
        """Return the methods that a client's path takes; empty if there is no endpoint."""
        path = _decode_path(raw_path)
        if path is None:
            return []
        return sorted(
            method
            for method, routes in self._routes.get(path.count("/"), {}).items()
            if any(route.pattern.fullmatch(path) for route in routes.values())
        )


def _fill(template: str, parameters: Mapping[str, str]) -> str:
    """Return a template with its parameters, encoded."""
    return _PLACEHOLDER_PATTERN.sub(lambda match: quote(parameters[match[1]], safe=""), template)


def _compile(template: str) -> re.Pattern[str]:
    """Return the pattern of a path template."""
    parts: list[str] = []
    position = 0
    for match in _PLACEHOLDER_PATTERN.finditer(template):
        parts += (
            re.escape(template[position : match.start()]),
            f"(?P<{match[1]}>{_SEGMENT_PATTERN.pattern})",
        )
        position = match.end()
    return re.compile("".join([*parts, re.escape(template[position:])]))


def _decode_path(raw_path: bytes) -> str | None:
    """Return a path with each segment decoded once; None if a segment could be read as two.

    A segment has no slash, percent sign, control character or dots alone after decoding: a server
    behind the gateway might decode or normalise it again (RFC 3986, 6.2.2).
    """
    if len(raw_path) > _MAX_PATH_BYTES or not raw_path.startswith(b"/"):
        return None
    segments = [unquote_to_bytes(segment) for segment in raw_path[1:].split(b"/")]
    for segment in segments:
        name, _, method = segment.partition(b":")
        for part in (name, method) if method else (name,):
            text = part.decode("latin-1")
            if _SEGMENT_PATTERN.fullmatch(text) is None or not text.strip("."):
                return None
    return "/" + "/".join(segment.decode("ascii") for segment in segments)
