"""Read the model, prompt and ids of a pass-through request; all other bytes go on as they came."""

from collections.abc import AsyncIterator, Mapping
from typing import Protocol
from urllib.parse import parse_qsl, urlencode

import msgspec

from gateway.core import jsonio
from gateway.core.batch_file import BatchFileReader
from gateway.core.call import Call
from gateway.core.errors import Problem, ProblemError
from gateway.core.jsonio import Json
from gateway.core.multipart import replace_field
from gateway.core.object_ids import ObjectApi
from gateway.core.passthrough import PassThroughMatch
from gateway.core.prompt import Prompt
from gateway.dialects import Dialect
from gateway.pipeline.passthrough.upload_form import UploadForm
from gateway.state.upload_tokens import QUERY_NAME

API_BY_DIALECT: Mapping[str, ObjectApi] = {
    "openai-chat": "openai", "anthropic-messages": "anthropic", "gemini": "gemini",
}  # fmt: skip
_TEXT_MEMBERS = ("prompt", "input", "text", "query")
"""Members of requests that have a person's text."""
_PRIVATE_QUERIES = frozenset(
    {
        "access_token", "alt", "api-version", "api_key", "bearer_token", "callback", "jsonp", "key",
        "oauth_token", "quotauser", "userproject", QUERY_NAME,
    }
)  # fmt: skip
"""Queries of the client that no provider gets: credentials, Azure's version, Google's words for who
pays, and those that give an answer another form, in which the gateway could not read whose objects
it lists."""
_PASSED_ALT = ("json", "media", "sse")
"""The values of `alt` that pass: JSON, the bytes of a file, and a stream."""
_MAX_QUERIES = 100


class Upload(Protocol):
    """A body that arrives in pieces, as they are taken."""

    length: int | None
    """The bytes of the body, if the client has said so."""
    is_complete: bool
    """True if the whole body has arrived."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Return the iterator of the pieces."""
        ...

    async def __anext__(self) -> bytes:
        """Take the next piece. Raises StopAsyncIteration after the last one."""
        ...

    def replace_ahead(self, start: int, size: int, value: bytes) -> None:
        """Put a value in place of bytes that nobody has taken yet."""
        ...


class TokenBounds(msgspec.Struct, frozen=True, kw_only=True):
    """The most tokens of a request and of its answer."""

    prompt: int
    """The most tokens of the request; no token is less than a byte."""
    answer: int


class PassThroughRequest(msgspec.Struct, kw_only=True):
    """One request for a pass-through endpoint."""

    call: Call
    match: PassThroughMatch
    dialect: Dialect
    """The dialect of the client, for errors."""
    query: str
    """The query string that goes on to the provider."""
    origin: str = ""
    """The scheme and host by which the client reaches the gateway."""
    content_type: str = ""
    body: bytes | None = None
    """The whole body; None if there is none, or if it comes as an upload."""
    upload: "Upload | None" = None
    """A body that still arrives."""
    form: UploadForm | None = None
    """The form in the body, as far as it has arrived; None if the body is no form."""
    file_reader: BatchFileReader | None = None
    """The reader of a file that is the body, which may be that of a batch."""
    token_bounds: TokenBounds | None = None
    """The most tokens that the call may use, if the gateway has written the request itself."""
    is_operators_choice: bool = False
    """True if the configuration names the model, not the client: no limit on tiers applies."""

    @property
    def has_unread_body(self) -> bool:
        """True if the client may still send its body."""
        return self.upload is not None and not self.upload.is_complete


class PassThroughFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Facts of a request, from its body and path."""

    prompt: Prompt
    value: dict[str, Json] = {}
    """The decoded body if it is a JSON object, or the fields of a form."""
    user: str = ""
    """The end user whom the client names in the body."""


def clean_query(query: str) -> str:
    """Return a query string without what only the client's own account may set, encoded anew.

    Raises ProblemError if it has too many parameters.
    """
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_QUERIES)
    except ValueError:
        message = f"The URL has more than {_MAX_QUERIES} query parameters. Send fewer."
        raise ProblemError(Problem(kind="invalid_request", message=message)) from None
    return urlencode([(name, value) for name, value in pairs if _passes_query(name, value)])


def _passes_query(name: str, value: str) -> bool:
    """Return True if a query parameter may go on. Google reads `$alt` as it reads `alt`."""
    bare_name = name.lower().removeprefix("$")
    return bare_name not in _PRIVATE_QUERIES or (bare_name == "alt" and value in _PASSED_ALT)


def read_facts(request: PassThroughRequest) -> PassThroughFacts:
    """Read a request. Raises ProblemError if its body is not what the endpoint takes."""
    endpoint = request.match.candidates[0].endpoint
    value: dict[str, Json] = {}
    if request.form is not None:
        value = request.form.read_fields()
    elif endpoint.body in ("json", "multipart") and request.body:
        value = _read_object(request.body)
    model = value.get("model") if endpoint.model == "body" else None
    if endpoint.model == "path":
        model = request.match.parameters["model"]
    if isinstance(model, str) and endpoint.model == "body" and request.dialect.name == "gemini":
        model = model.removeprefix("models/")
    if model is not None and not isinstance(model, str):
        message = "The member `model` must be the name of a model."
        raise ProblemError(Problem(kind="invalid_request", message=message, param="model"))
    text = next((value[name] for name in _TEXT_MEMBERS if isinstance(value.get(name), str)), "")
    user = value.get("user")
    prompt = Prompt(
        model=model or "",
        stream=endpoint.streams and value.get("stream") in (True, "true"),
        user=text,
        user_turns=1 if text else 0,
        chars=len(text),
    )
    return PassThroughFacts(prompt=prompt, value=value, user=user if isinstance(user, str) else "")


def write_body(
    request: PassThroughRequest, facts: PassThroughFacts, model: str
) -> bytes | Upload | None:
    """Return the body for the provider: the client's own bytes, unless its model is named anew."""
    endpoint, body, upload = request.match.candidates[0].endpoint, request.body, request.upload
    if endpoint.body == "bytes":
        return body if upload is None else upload
    if request.form is not None:
        part = request.form.find_field("model") if endpoint.model == "body" else None
        if part is None or facts.prompt.model == model:
            return body if upload is None else upload
        if upload is not None:
            upload.replace_ahead(part.start, part.size, model.encode())
            return upload
        return replace_field(body or b"", request.content_type, "model", model.encode())
    if body is None:
        return None
    members = jsonio.read_members(body) if body else {}
    if endpoint.model == "body" and facts.prompt.model != model:
        return jsonio.join_members({**members, "model": msgspec.Raw(jsonio.dumps(model))})
    if jsonio.has_repeated_member(body, members):  # the gateway has read the last of them
        return jsonio.join_members(members)
    return body


def describe_made_object(request: PassThroughRequest) -> dict[str, Json]:
    """Return what the gateway keeps of a request with the object that it makes.

    A batch is checked when it is made of its file, and then only the provider has that.
    """
    batch = None if request.form is None else request.form.batch
    reader, headers = request.file_reader, request.call.headers
    if reader is not None and headers.get("x-goog-upload-offset") == "0":
        # A file in several pieces is never known as a whole.
        is_last = "finalize" in headers.get("x-goog-upload-command", "")
        is_whole = is_last and not request.has_unread_body
        batch = reader.finish() if is_whole else None
    return {} if batch is None else {"batch": msgspec.to_builtins(batch)}


def _read_object(body: bytes) -> dict[str, Json]:
    try:
        value = jsonio.loads(body)
    except jsonio.JsonError as error:
        message = f"The body is not valid JSON: {error}."
        raise ProblemError(Problem(kind="invalid_json", message=message)) from None
    if not isinstance(value, dict):
        message = "The body must be a JSON object."
        raise ProblemError(Problem(kind="invalid_json", message=message))
    return value
