"""The parameters by which a deployment of LiteLLM authenticates in a cloud, without a key."""

import re
from typing import NamedTuple

from gateway.importers.draft import Part, as_text, strip_variables
from gateway.importers.litellm_format import parse_reference

AWS_PARAMS = frozenset({
    "aws_access_key_id", "aws_secret_access_key", "aws_session_token", "aws_profile_name",
    "aws_role_name", "aws_session_name", "aws_web_identity_token", "aws_sts_endpoint",
})  # fmt: skip
AZURE_PARAMS = frozenset({"azure_ad_token", "tenant_id", "client_id", "client_secret"})
VERTEX_PARAMS = frozenset({"vertex_project", "vertex_location", "vertex_credentials"})
_AWS_SETTINGS = {"profile": "aws_profile_name", "role": "aws_role_name"}
_AZURE_SETTINGS = {"tenant": "tenant_id", "client": "client_id"}
"""The settings of an identity, and the parameters that they come from."""
_AWS_NOTE = (
    "The gateway signs requests with a credential of AWS's own sources: set AWS_ACCESS_KEY_ID "
    "and AWS_SECRET_ACCESS_KEY, or give the machine a role."
)
_AZURE_NOTE = (
    "Requests have a token of Entra ID: set AZURE_TENANT_ID, AZURE_CLIENT_ID and "
    "AZURE_CLIENT_SECRET, or give the machine an identity."
)
_VERTEX_NOTE = "Requests have a token of the application default credentials (the extra `google`)."
_GLOBAL_HOST = "https://aiplatform.googleapis.com"


class CloudIdentity(NamedTuple):
    """The keys of a provider that takes the gateway's own identity."""

    part: Part
    params: frozenset[str]
    """The parameters that these keys stand for."""
    note: str


def find_cloud_identity(host: str, shipped: Part, params: Part) -> CloudIdentity | None:
    """Return the identity that a deployment has by its parameters; None if it has a key.

    `shipped` is the provider as it ships.
    """
    if host.startswith("vertex"):
        return CloudIdentity(_read_vertex(shipped, params), VERTEX_PARAMS, _VERTEX_NOTE)
    if params.get("api_key") is not None:
        return None
    if host.startswith("bedrock") and not AWS_PARAMS.isdisjoint(params):
        settings = {**shipped.get("aws", {}), **_read_texts(params, _AWS_SETTINGS)}
        return CloudIdentity({"auth": "aws", "aws": settings}, AWS_PARAMS, _AWS_NOTE)
    if host.startswith("azure") and not AZURE_PARAMS.isdisjoint(params):
        settings = _read_texts(params, _AZURE_SETTINGS)
        part = {"auth": "azure", **({"azure": settings} if settings else {})}
        return CloudIdentity(part, AZURE_PARAMS, _AZURE_NOTE)
    return None


def _read_vertex(shipped: Part, params: Part) -> Part:
    base_url, dialects = str(shipped["base_url"]), dict(shipped["dialects"])
    project = _read_text(params.get("vertex_project"))
    location = _read_text(params.get("vertex_location"))
    location = location if re.fullmatch(r"[a-z0-9-]+", location) else ""
    if location not in ("", "global"):
        base_url = base_url.replace(_GLOBAL_HOST, f"https://{location}-aiplatform.googleapis.com")
    for name, value in (("PROJECT", project), ("LOCATION", location)):
        pattern = re.compile(rf"\$\{{GOOGLE_CLOUD_{name}[^}}]*\}}")
        for dialect, path in dialects.items():
            dialects[dialect] = _replace(pattern, value, path) if value else path
    file = _read_text(params.get("vertex_credentials"))
    is_file = file and "{" not in file.removeprefix("${")
    identity = {"google": {"file": file}} if is_file else {}
    return {"base_url": base_url, "dialects": dialects, **identity}


def _replace(pattern: re.Pattern[str], value: str, path: str) -> str:
    return pattern.sub(lambda _: value, path)


def _read_texts(params: Part, names: dict[str, str]) -> Part:
    """Return the settings whose parameters have a text."""
    texts = {setting: _read_text(params.get(name)) for setting, name in names.items()}
    return {setting: text for setting, text in texts.items() if text}


def _read_text(value: object) -> str:
    """Return a text, or the variable that it refers to; empty for anything else."""
    variable = parse_reference(value)
    return f"${{{variable}}}" if variable else strip_variables(as_text(value))
