"""What the gateway does with each endpoint of the official SDKs: it serves or refuses it."""

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

from gateway.settings.passthrough import TABLES
from tests.docs.pages import ROOT
from tests.drift.sdk_endpoints import list_endpoints, normalise

_ORGANISATION = "manages the organisation, its members, keys, bills and logs: only its admins may"
_WEBHOOKS = "a webhook tells of the objects of all keys, and its secret is the organisation's"
_SECRETS = "gives a secret that works at the provider, past the keys and limits of the gateway"
_AGENTS = (
    "an agent works on its own, with credentials at the provider, at a cost that no answer has"
)
_ACCOUNT_MODELS = "a model belongs to the account of all keys; its operator deletes or changes it"
_CALLS = "answers a phone call or browser that speaks with the provider past the gateway"
_RETIRED = "the provider has retired it"
_STORED_CHATS = (
    "the gateway keeps answers of Responses; chats go to many providers, which keep none"
)
_VOICES = "a voice of a person needs that person's consent, which the operator gets"
_SAFETY = "reports on all users of the organisation"

REFUSED: Mapping[str, Mapping[str, str]] = {
    "openai": {
        "* /v1/organization/*": _ORGANISATION,
        "* /v1/projects/*": _ORGANISATION,
        "* /v1/fine_tuning/checkpoints/*": _ORGANISATION,
        "* /v1/webhook_endpoints*": _WEBHOOKS,
        "GET /v1/webhook_event_types": _WEBHOOKS,
        "* /v1/realtime/client_secrets": _SECRETS,
        "* /v1/realtime/translations/client_secrets": _SECRETS,
        "* /v1/realtime/sessions": _SECRETS,
        "* /v1/realtime/transcription_sessions": _SECRETS,
        "* /v1/realtime/calls*": _CALLS,
        "* /v1/live/sessions*": _CALLS,
        "* /v1/chatkit/*": _SECRETS,
        "* /v1/agents*": _AGENTS,
        "* /v1/vaults*": _AGENTS,
        "* /v1/assistants*": _RETIRED,
        "* /v1/threads*": _RETIRED,
        "* /v1/evals*": "an evaluation runs models as often as its data has rows, at a cost that "
        "nothing bounds",
        "POST /v1/fine_tuning/alpha/graders/*": "in alpha, and runs models at a cost that no "
        "answer has",
        "* /v1/audio/voices*": _VOICES,
        "* /v1/audio/voice_consents*": _VOICES,
        "GET /v1/safety/*": _SAFETY,
        "DELETE /v1/models/{}": _ACCOUNT_MODELS,
        "GET /v1/chat/completions*": _STORED_CHATS,
        "POST /v1/chat/completions/{}": _STORED_CHATS,
        "DELETE /v1/chat/completions/{}": _STORED_CHATS,
    },
    "anthropic": {
        "* /v1/organizations/*": _ORGANISATION,
        "* /v1/compliance/*": _SAFETY,
        "* /v1/user_profiles*": "keeps data on people for the whole organisation",
        "* /v1/agents*": _AGENTS,
        "* /v1/sessions*": _AGENTS,
        "* /v1/environments*": _AGENTS,
        "* /v1/deployments*": _AGENTS,
        "* /v1/deployment_runs*": _AGENTS,
        "* /v1/dreams*": _AGENTS,
        "* /v1/memory_stores*": _AGENTS,
        "* /v1/vaults*": _AGENTS,
        "* /v1/tunnels*": "leads into the operator's own network",
    },
    "google-genai": {
        "POST /v1beta/auth_tokens": _SECRETS,
        "* /v1beta/interactions/{}/auth_tokens*": _SECRETS,
        "* /v1beta/webhooks*": _WEBHOOKS,
        "* /v1beta/agents*": _AGENTS,
        "* /v1beta/credentials*": _AGENTS,
        "* /v1beta/environments*": _AGENTS,
        "* /upload/v1beta/environments/*": _AGENTS,
        "* /v1beta/triggers*": _AGENTS,
        "* /v1beta/voices*": _VOICES,
        "POST /v1beta/files:register": "opens files of Google Cloud Storage with an account's "
        "own rights",
        "* /v1beta/tunedModels*": _RETIRED,
        "PATCH /v1beta/models/{}": _ACCOUNT_MODELS,
        "DELETE /v1beta/models/{}": _ACCOUNT_MODELS,
    },
}
"""Reasons by SDK and pattern: a method and a path as `fnmatch` has them, `{}` for a placeholder."""

_OWN_ENDPOINT = re.compile(r"\| `((?:GET|POST|DELETE) /v1\S*)` \|")
_REFERENCE = ROOT / "docs" / "http.md"
_MODEL_LISTS = {"GET /v1beta/models", "GET /v1beta/models/{}"}
"""Endpoints of the gateway that its OpenAPI document leaves out."""


def list_table_endpoints(prefix: str = "") -> set[str]:
    """Return the endpoints of the tables whose names begin with a text."""
    return {
        f"{endpoint.method} {normalise(table.prefix + endpoint.path)}"
        for name, table in TABLES.items()
        if name.startswith(prefix)
        for endpoint in table.endpoints
    }


def list_own_endpoints() -> set[str]:
    """Return the endpoints that the gateway serves without a table; its reference has them."""
    endpoints = _OWN_ENDPOINT.findall(_REFERENCE.read_text("utf-8"))
    return {normalise(endpoint) for endpoint in endpoints} | _MODEL_LISTS


def list_undecided_endpoints(sdk: str) -> Iterator[str]:
    """Yield the endpoints of an SDK that are neither served nor refused."""
    for endpoint in sorted(list_endpoints(sdk) - list_table_endpoints() - list_own_endpoints()):
        if find_reason(sdk, endpoint) is None:
            yield endpoint


def find_reason(sdk: str, endpoint: str) -> str | None:
    """Return why the gateway refuses an endpoint; None if nothing says so."""
    for pattern, reason in REFUSED[sdk].items():
        if fnmatchcase(endpoint, pattern):
            return reason
    return None
