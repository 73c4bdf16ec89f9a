"""The parts of providers' session APIs that the gateway refuses: ephemeral secrets, and WebRTC."""

from gateway.core.errors import Problem

EPHEMERAL_PROBLEM = Problem(
    kind="not_allowed",
    message="The gateway makes no ephemeral secrets, and takes none: their holder would talk to "
    "the provider past all limits and budgets. Open the WebSocket with a key of the gateway.",
)
WEBRTC_PROBLEM = Problem(
    kind="not_allowed",
    message="The gateway serves no WebRTC: audio would go to the provider past all limits and "
    "budgets. Open a WebSocket at /v1/realtime.",
)
_PLAIN_PROBLEM = Problem(
    kind="method_not_allowed",
    message="Realtime sessions are WebSockets: connect with wss:// or ws://.",
    status=426,
)
_SECRET_PATHS = frozenset(
    {
        "/v1/realtime/client_secrets", "/v1/realtime/sessions",
        "/v1/realtime/transcription_sessions", "/v1alpha/auth_tokens", "/v1beta/auth_tokens",
    }
)  # fmt: skip
_CALLS_PATH = "/v1/realtime/calls"
_SESSION_PATH = "/v1/realtime"


def find_problem(path: str) -> Problem | None:
    """Return why the gateway serves a path of sessions in no way; None for all other paths."""
    if path in _SECRET_PATHS:
        return EPHEMERAL_PROBLEM
    if path == _CALLS_PATH or path.startswith(f"{_CALLS_PATH}/"):
        return WEBRTC_PROBLEM
    return _PLAIN_PROBLEM if path == _SESSION_PATH else None
