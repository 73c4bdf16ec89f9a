"""The parts of providers' session APIs that the gateway refuses: ephemeral secrets, and WebRTC."""

from typing import NoReturn

from fastapi import FastAPI

from gateway.core.errors import Problem, ProblemError

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
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_SECRET_PATHS = (
    "/v1/realtime/client_secrets", "/v1/realtime/sessions", "/v1/realtime/transcription_sessions",
    "/v1alpha/auth_tokens", "/v1beta/auth_tokens",
)  # fmt: skip
_CALL_PATHS = ("/v1/realtime/calls", "/v1/realtime/calls/{rest:path}")


def add_routes(app: FastAPI) -> None:
    """Add the routes that say why."""

    def refuse_secret() -> NoReturn:
        raise ProblemError(EPHEMERAL_PROBLEM)

    def refuse_call() -> NoReturn:
        raise ProblemError(WEBRTC_PROBLEM)

    def refuse_plain() -> NoReturn:
        raise ProblemError(_PLAIN_PROBLEM)

    for paths, refuse in (
        (_SECRET_PATHS, refuse_secret),
        (_CALL_PATHS, refuse_call),
        (("/v1/realtime",), refuse_plain),
    ):
        for path in paths:
            app.add_api_route(
                path, refuse, methods=_METHODS, include_in_schema=False, response_model=None
            )
