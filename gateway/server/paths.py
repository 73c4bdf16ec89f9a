"""Paths of endpoints: what else clients call them, whose dialect they have, and which is near.

A client puts an SDK's own path behind a base URL that it got wrong, or speaks to Azure or to
Google's compatible endpoint. `ALIASES` says where such a path leads; nothing else in the gateway
knows another name of an endpoint.
"""

import difflib
import re
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from gateway.core import jsonio
from gateway.dialects import ANTHROPIC_MESSAGES, GEMINI, OPENAI_CHAT, OPENAI_RESPONSES, Dialect

GEMINI_PREFIXES = ("/v1beta/models/", "/v1/models/")
"""Beginnings of the paths of Google's calls; the model follows."""
GEMINI_METHODS = (
    "generateContent",
    "streamGenerateContent",
    "countTokens",
    "embedContent",
    "batchEmbedContents",
)
"""Methods of a model in Google's paths."""
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
"""Beginnings of paths, and what is meant. The first that leads to an endpoint counts."""
_DEPLOYMENT_PATTERN = re.compile(
    r"(?:/openai)?/deployments/(?P<model>.+?)/(?P<rest>chat/completions|embeddings|responses)"
)
"""Azure's older paths, which name the model."""
_ENDPOINT_PATTERNS = {
    "/v1/": re.compile(
        r"chat/completions|embeddings|responses|responses/[^/]+|messages|messages/count_tokens"
        r"|models|models/.+"
    ),
    "/v1beta/": re.compile(r"models|models/.+"),
}
"""Ends of paths that an alias may have, by where it leads."""
_MIN_LIKENESS = 0.55
"""Likeness (difflib's ratio) from which on a path counts as a slip of one that exists."""


class NamedEndpoint(NamedTuple):
    """The endpoint that a path means, and the model that it names (Azure); else empty."""

    path: str
    model: str = ""


def resolve(path: str) -> NamedEndpoint:
    """Return the endpoint that a path means: itself where it is no alias."""
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


def find_dialect(path: str) -> Dialect:
    """Return the dialect that a client of this path speaks, also where the path is not right."""
    path = resolve(path).path
    is_gemini = path.startswith(("/v1beta", "/v1alpha")) and "/openai/" not in path
    if is_gemini or ("/models/" in path and ":" in path):
        return GEMINI
    if "/message" in path:
        return ANTHROPIC_MESSAGES
    return OPENAI_RESPONSES if "/response" in path else OPENAI_CHAT


def suggest_path(path: str, endpoints: Iterable[str]) -> str:
    """Name the endpoint that is nearest to a path; empty where none is near."""
    name, colon, method = path.rpartition(":")
    if colon and find_dialect(path) is GEMINI:
        matches = difflib.get_close_matches(method, GEMINI_METHODS, n=1, cutoff=_MIN_LIKENESS)
        model = name.rpartition("/models/")[2]
        return f"Did you mean /v1beta/models/{model}:{matches[0]}? " if matches else ""
    matches = difflib.get_close_matches(path, list(endpoints), n=1, cutoff=_MIN_LIKENESS)
    return f"Did you mean {matches[0]}? " if matches else ""


def fill_model(body: bytes, model: str) -> bytes:
    """Name the model in a body that names none; one that cannot be read stays as it is."""
    try:
        members = jsonio.read_members(body)
    except jsonio.JsonError:
        return body
    current_model = members.get("model")
    if current_model is not None and bytes(memoryview(current_model)) not in (b"null", b'""'):
        return body
    return jsonio.join_members({**members, "model": msgspec.Raw(jsonio.dumps(model))})
