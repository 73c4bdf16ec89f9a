"""Paths of endpoints: their aliases, their dialects, and suggestions for wrong paths.

A client may append an SDK's own path to a wrong base URL, or speak to Azure or to Google's
OpenAI-compatible endpoint. `ALIASES` says where such a path leads. No other module knows aliases.
"""

import difflib
import re
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from gateway.core import jsonio
from gateway.dialects import ANTHROPIC_MESSAGES, GEMINI, OPENAI_CHAT, OPENAI_RESPONSES, Dialect

GEMINI_PREFIXES = ("/v1beta/models/", "/v1/models/")
"""Prefixes of the paths of Gemini calls; the model follows."""
GEMINI_OPERATIONS = {
    "generateContent": "generate",
    "streamGenerateContent": "generate",
    "countTokens": "count_tokens",
    "embedContent": "embeddings",
    "batchEmbedContents": "embeddings",
}
"""Operations by the method of a model in Gemini paths."""
ALIASES = (
    ("/v1/v1beta/", "/v1beta/"),
    ("/v1beta/v1beta/", "/v1beta/"),
    ("/v1alpha/", "/v1beta/"),
    ("/v1beta/openai/", "/v1/"),
    ("/openai/v1/", "/v1/"),
    ("/openai/", "/v1/"),
    ("/v1/v1/", "/v1/"),
    ("/", "/v1/"),
)
"""Path prefixes and their replacements. The first one that leads to an endpoint counts."""
_GOOGLE_ALIASES = ((b"/v1/", b"/v1beta/"), (b"/upload/v1/", b"/upload/v1beta/"))
"""Prefixes of the paths of Google's SDK, and the prefixes of the tables."""
_DEPLOYMENT_PATTERN = re.compile(
    r"(?:/openai)?/deployments/(?P<model>.+?)/(?P<rest>chat/completions|embeddings|responses)"
)
"""Azure's older paths, which contain the model."""
_DEPLOYED_ENDPOINT_PATTERN = re.compile(
    rb"(?:/openai)?/deployments/[^/]+(?P<rest>/completions|/(?:audio|images)/[a-z]+)"
)
"""Paths with a deployment, of endpoints of tables. Azure's SDK names the model in the body, too."""
_ENDPOINT_PATTERNS = {
    "/v1/": re.compile(
        r"chat/completions|embeddings|responses|responses/[^/]+|messages|messages/count_tokens"
        r"|models|models/.+"
    ),
    "/v1beta/": re.compile(r"models|models/.+"),
}
"""Path suffixes that may follow an alias, by the prefix that replaces it."""
_MIN_LIKENESS = 0.55
"""The likeness (difflib's ratio) from which a path counts as a misspelt existing path."""


class NamedEndpoint(NamedTuple):
    """The endpoint that a path means, and the model in the path (Azure), or an empty string."""

    path: str
    model: str = ""


def resolve(path: str) -> NamedEndpoint:
    """Return the endpoint that a path means: the path itself if it is no alias."""
    if any(
        path.startswith(target_prefix)
        and _ENDPOINT_PATTERNS[target_prefix].fullmatch(path[len(target_prefix) :])
        for target_prefix in _ENDPOINT_PATTERNS
    ):
        return NamedEndpoint(path)
    if (deployment := _DEPLOYMENT_PATTERN.fullmatch(path)) is not None:
        return NamedEndpoint(f"/v1/{deployment['rest']}", deployment["model"])
    for prefix, target_prefix in ALIASES:
        suffix = path[len(prefix) :]
        if path.startswith(prefix) and _ENDPOINT_PATTERNS[target_prefix].fullmatch(suffix):
            return NamedEndpoint(target_prefix + suffix)
    return NamedEndpoint(path)


def list_spellings(raw_path: bytes, *, is_google: bool) -> list[bytes]:
    """Return a path, and the paths that it may stand for by an alias of its prefix.

    `is_google`: Google's own SDK sends the path; since its version 3 it says `/v1` for `/v1beta`.
    """
    if (deployed := _DEPLOYED_ENDPOINT_PATTERN.fullmatch(raw_path)) is not None:
        return [b"/v1" + deployed["rest"]]
    return [
        *(
            target_prefix + raw_path[len(prefix) :]
            for prefix, target_prefix in _GOOGLE_ALIASES
            if is_google and raw_path.startswith(prefix)
        ),
        raw_path,
        *(
            target_prefix.encode() + raw_path[len(prefix) :]
            for prefix, target_prefix in ALIASES
            if raw_path.startswith(prefix.encode())
        ),
    ]


def find_dialect(path: str) -> Dialect:
    """Return the dialect that a client of this path speaks, even if the path is wrong."""
    path = resolve(path).path
    is_gemini = path.startswith(("/v1beta", "/v1alpha")) and "/openai/" not in path
    if is_gemini or ("/models/" in path and ":" in path):
        return GEMINI
    if "/message" in path:
        return ANTHROPIC_MESSAGES
    return OPENAI_RESPONSES if "/response" in path else OPENAI_CHAT


def suggest_path(path: str, endpoints: Iterable[str]) -> str:
    """Return a hint that names the endpoint nearest to a path; empty if none is near."""
    name, colon, method = path.rpartition(":")
    if colon and find_dialect(path) is GEMINI:
        matches = difflib.get_close_matches(
            method, list(GEMINI_OPERATIONS), n=1, cutoff=_MIN_LIKENESS
        )
        model = name.rpartition("/models/")[2]
        return f"Did you mean /v1beta/models/{model}:{matches[0]}? " if matches else ""
    matches = difflib.get_close_matches(path, list(endpoints), n=1, cutoff=_MIN_LIKENESS)
    return f"Did you mean {matches[0]}? " if matches else ""


def fill_model(body: bytes, model: str) -> bytes:
    """Add the model to a body that names none. Return an unreadable body unchanged."""
    try:
        members = jsonio.read_members(body)
    except jsonio.JsonError:
        return body
    current_model = members.get("model")
    if current_model is not None and bytes(memoryview(current_model)) not in (b"null", b'""'):
        return body
    return jsonio.join_members({**members, "model": msgspec.Raw(jsonio.dumps(model))})
