"""Pass-through calls at the edge: which requests they are, their key, admission and body."""

from urllib.parse import parse_qs

import msgspec

from gateway.core.batch_file import BatchFileReader
from gateway.core.call import OPEN_KEY, Call, Key
from gateway.core.errors import Problem, ProblemError
from gateway.core.passthrough import BodyKind, PassThroughMatch
from gateway.dialects import ANTHROPIC_MESSAGES, DIALECTS, GEMINI, OPENAI_CHAT, Dialect
from gateway.pipeline.passthrough.answer import JSON_TYPE, is_json
from gateway.pipeline.passthrough.request import API_BY_DIALECT, PassThroughRequest, clean_query
from gateway.pipeline.passthrough.upload_form import UploadForm
from gateway.pipeline.passthrough.urls import UPLOAD_ID
from gateway.runtime.composition import Gateway
from gateway.server import paths, request_headers
from gateway.server.admission import Admission, RefusalLog
from gateway.server.endpoint import Endpoint, keeps_connection
from gateway.server.identity.client_tokens import ClientTokens
from gateway.server.request_headers import Receive, RequestHeaders, Scope, Send
from gateway.server.shutdown import InFlightRequest
from gateway.server.upload import UploadReader
from gateway.state.upload_tokens import QUERY_NAME

_FORWARDED_HEADERS = frozenset(
    {
        b"accept", b"range", b"idempotency-key",
        b"x-goog-upload-protocol", b"x-goog-upload-command", b"x-goog-upload-offset",
        b"x-goog-upload-header-content-length", b"x-goog-upload-header-content-type",
        b"x-goog-upload-file-name",
    }
)  # fmt: skip
"""Client headers that go on beside those of the dialect. Headers that choose an organisation, a
project or a billing account at the provider never do."""
_FORM_BEGINNING_BYTES = 65_536
"""Bytes of a form without a model that the gateway reads before it decides."""
_PLACE_HEADERS = frozenset({b"anthropic-workspace-id"})
"""Headers of a dialect that choose where objects are: the gateway knows their accounts alone."""
_ANTHROPIC_HEADER = b"anthropic-version"
_UPLOAD_COMMAND = b"x-goog-upload-command"
_GOOGLE_HEADERS = (b"x-goog-api-key", b"x-goog-api-client")


class PassThroughServer:
    """Serves the pass-through endpoints of the configuration in force."""

    def __init__(
        self,
        gateway: Gateway,
        refusal_log: RefusalLog,
        admission: Admission,
        client_tokens: ClientTokens,
    ) -> None:
        self._gateway = gateway
        self._server = gateway.built_config.source.config.server
        self._admission = admission
        self._client_tokens = client_tokens
        self._endpoints = {
            dialect.name: Endpoint(gateway, dialect, refusal_log, admission, client_tokens)
            for dialect in DIALECTS.values()
        }

    def match(self, scope: Scope) -> PassThroughMatch | None:
        """Return the endpoints that a request means; None if it is no pass-through call."""
        routes = self._gateway.revision.built_config.built_catalogue.passthrough
        for path in _list_spellings(scope):
            match = routes.match(scope["method"], path)
            if match is not None:
                return match.prefer_dialect(_find_dialect(scope, path).name)
        return None

    def list_methods(self, scope: Scope) -> list[str]:
        """Return the methods that pass-through endpoints at a path take."""
        routes = self._gateway.revision.built_config.built_catalogue.passthrough
        return sorted(
            {method for path in _list_spellings(scope) for method in routes.list_methods(path)}
        )

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send, match: PassThroughMatch
    ) -> None:
        """Answer one request."""
        call_id = request_headers.new_id()
        dialect = DIALECTS[match.candidates[0].table.dialect]
        endpoint, length = self._endpoints[dialect.name], None
        try:
            headers = RequestHeaders(
                scope["headers"],
                (dialect.forwarded_headers | _FORWARDED_HEADERS) - _PLACE_HEADERS,
                dialect.default_headers,
            )
            length = headers.length
            query = clean_query(scope["query_string"].decode("latin-1"))
            content_type = _read_content_type(scope, match.candidates[0].endpoint.body)
            if dialect is GEMINI:
                headers.add_query_key(scope["query_string"])
            key = self._find_upload_key(scope, match)
            if key is None:
                key = await self._client_tokens.identify(headers)
            in_flight = self._admission.enter(key)
        except ProblemError as error:
            await endpoint.refuse(
                send, error.problem, call_id, keep_alive=keeps_connection(error.problem, length)
            )
            return
        try:
            request = PassThroughRequest(
                call=_build_call(self._gateway, dialect, headers, key, call_id, match),
                match=match,
                dialect=dialect,
                origin=_find_origin(scope),
                query=query,
                content_type=content_type,
            )
            body_kind = match.candidates[0].endpoint.body
            if body_kind == "json" or (body_kind == "multipart" and is_json(request.content_type)):
                data = await endpoint.read_body(receive, length, in_flight, send, call_id)
                if data is None:
                    return
                request.body = data
            elif body_kind != "none":
                reading = self._take_upload(request, receive, length, in_flight)
                if not await endpoint.finish_reading(reading, in_flight, send, call_id):
                    return
            await endpoint.serve_call(
                request.call, in_flight, receive, send, scope.get("exchange"), request
            )
        finally:
            self._admission.leave(key, in_flight)

    async def _take_upload(
        self,
        request: PassThroughRequest,
        receive: Receive,
        length: int | None,
        in_flight: InFlightRequest,
    ) -> bool:
        """Take a body that is no JSON: whole, or as an upload. Return True.

        Raises ProblemError, and ClientGone if the client has left.
        """
        first = request.match.candidates[0]
        endpoint, is_upload = first.endpoint, first.endpoint.is_upload
        names_model = endpoint.model == "body"
        if endpoint.body == "multipart":
            api = API_BY_DIALECT[first.table.dialect]
            request.form = UploadForm(request.content_type, api, guards_fields=names_model)
        elif endpoint.creates == "file":
            request.file_reader = BatchFileReader()
        reader = UploadReader(
            receive,
            length,
            self._server,
            self._admission.reserve_memory(in_flight),
            request.form or request.file_reader,
            setting="max_upload" if is_upload else "max_body",
        )
        if names_model or not is_upload:
            await reader.read_ahead(self._server.max_body + 1)
        elif request.form is not None:
            await reader.read_ahead(_FORM_BEGINNING_BYTES)
        if reader.is_complete:
            request.body = reader.take_whole()
        else:
            request.upload = reader
            if request.form is not None:
                request.form.end_beginning()
        return True

    def _find_upload_key(self, scope: Scope, match: PassThroughMatch) -> Key | None:
        """Return the key that began an upload, by the token in its URL; None without a token.

        The token opens nothing but the upload: a page or a log may have the URL. Raises
        ProblemError if the token is not one of this upload, or the key is not active.
        """
        is_upload_url = bool(match.candidates[0].endpoint.upload_header)
        if not is_upload_url or QUERY_NAME.encode() not in scope["query_string"]:
            return None
        if any(
            name == _UPLOAD_COMMAND and b"start" in value.lower()
            for name, value in scope["headers"]
        ):
            return None  # another upload would begin
        queries = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=100)
        token, upload_id = queries.get(QUERY_NAME, [""])[0], queries.get(UPLOAD_ID, [""])[0]
        owner = self._gateway.passthrough.upload_tokens.read(token, upload_id)
        if owner is None:
            message = "The upload URL is not one that the gateway has given. Begin the upload anew."
            raise ProblemError(Problem(kind="invalid_api_key", message=message))
        if self._gateway.keys.is_open:
            return OPEN_KEY
        key = self._gateway.keys.find_active(owner.name).key
        if key.tenant != owner.tenant:
            message = "The key that began this upload is not active."
            raise ProblemError(Problem(kind="not_allowed", message=message))
        return key


def _get_raw_path(scope: Scope) -> bytes:
    raw_path: bytes | None = scope.get("raw_path")
    return scope["path"].encode() if raw_path is None else raw_path


def _list_spellings(scope: Scope) -> list[bytes]:
    """Return the paths that a request may mean, the most likely first."""
    is_google = any(name in _GOOGLE_HEADERS for name, _ in scope["headers"])
    return paths.list_spellings(_get_raw_path(scope), is_google=is_google)


def _find_dialect(scope: Scope, path: bytes) -> Dialect:
    """Return the dialect that the client of a path speaks: two APIs may share the path."""
    if any(name == _ANTHROPIC_HEADER for name, _ in scope["headers"]):
        return ANTHROPIC_MESSAGES
    return GEMINI if path.startswith((b"/v1beta/", b"/upload/")) else OPENAI_CHAT


def _find_origin(scope: Scope) -> str:
    """Return the scheme and host by which the client reaches the gateway.

    A proxy that ends TLS says so in `x-forwarded-proto`. Only the client itself uses the result.
    """
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    is_secure = "https" in (scope.get("scheme"), headers.get(b"x-forwarded-proto"))
    return f"{'https' if is_secure else 'http'}://{headers.get(b'host', '')}"


def _read_content_type(scope: Scope, body_kind: BodyKind) -> str:
    """Return the content type of a request; empty if it names none, or not in ASCII.

    The provider must read a body as the gateway has read it. Raises ProblemError (media_type).
    """
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    content_type = next(
        (value.decode("ascii", "ignore") for name, value in headers if name == b"content-type"), ""
    )
    if body_kind == "json":
        return JSON_TYPE
    if body_kind == "multipart" and not (
        is_json(content_type) or content_type.lower().startswith("multipart/form-data")
    ):
        message = "Send a form (content-type: multipart/form-data), or JSON (application/json)."
        raise ProblemError(Problem(kind="media_type", message=message))
    return content_type


def _build_call(
    gateway: Gateway,
    dialect: Dialect,
    headers: RequestHeaders,
    key: Key,
    call_id: str,
    match: PassThroughMatch,
) -> Call:
    call = request_headers.build_call(dialect, headers, key, b"", call_id, clocks=gateway.clocks)
    return msgspec.structs.replace(call, operation=match.candidates[0].endpoint.name)
