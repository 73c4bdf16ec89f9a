"""Reasons why Redis does not answer, in words that quote neither its replies nor its URL."""

import socket
import ssl

import pytest
from redis import exceptions

from gateway.state.errors import StoreUnavailable
from gateway.state.redis.replies import RedisError
from gateway.state.redis.server_connection import describe_error


@pytest.mark.parametrize(
    ("error", "cause", "text"),
    [
        (exceptions.TimeoutError("Timeout reading from h:1"), None, "no answer in time"),
        (TimeoutError(), None, "no answer in time"),
        (exceptions.ConnectionError("x"), socket.gaierror(), "its name is not known"),
        (socket.gaierror(), None, "its name is not known"),
        (exceptions.ConnectionError("x"), ssl.SSLError(), "no secure connection"),
        (exceptions.ConnectionError("x"), ConnectionRefusedError(), "no connection"),
        (exceptions.ConnectionError("max number of clients reached"), None, "no connection is left"),
        (exceptions.InvalidResponse("x"), None, "the server does not speak the Redis protocol"),
        (ValueError("secret"), None, "the server does not speak the Redis protocol"),
        (IndexError("secret"), None, "the server does not speak the Redis protocol"),
        (exceptions.BusyLoadingError("x"), None, "it is still loading its data"),
        (exceptions.NoPermissionError("x", status_code="NOPERM"), None, "it does not accept the credentials"),
        (exceptions.AuthenticationError("x"), None, "it does not accept the credentials"),
        (StoreUnavailable("Sentinel does not know the service"), None, "Sentinel does not know the service"),
    ],
)  # fmt: skip
def test_the_description_of_an_error_quotes_nothing(
    error: Exception, cause: Exception | None, text: str
) -> None:
    error.__cause__ = cause
    assert describe_error(error) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("DENIED secret", "it is in protected mode"),
        ("MOVED 5 h:1", "it is a node of a Cluster, which redis+cluster:// names"),
        ("LOADING secret", "it is still loading its data"),
        ("NOPERM secret", "it does not accept the credentials"),
        ("MISCONF secret", "it answers MISCONF"),
        ("A" * 99, f"it answers {'A' * 20}"),
    ],
)
def test_an_error_reply_is_described_by_its_code(text: str, why: str) -> None:
    assert RedisError(text).describe() == why
