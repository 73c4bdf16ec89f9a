"""Reasons why Redis does not answer, in words that quote neither its replies nor its URL."""

import socket
import ssl

import pytest
from hiredis import ProtocolError

from gateway.state.errors import StoreUnavailable
from gateway.state.redis.replies import RedisError
from gateway.state.redis.server_connection import describe_error


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (TimeoutError(), "no answer in time"),
        (socket.gaierror(), "its name is not known"),
        (ssl.SSLError(), "no secure connection"),
        (ConnectionRefusedError(), "no connection"),
        (ProtocolError("secret"), "the server does not speak the Redis protocol"),
        (ValueError("secret"), "the server does not speak the Redis protocol"),
        (IndexError("secret"), "the server does not speak the Redis protocol"),
        (StoreUnavailable("Sentinel does not know the service"), "Sentinel does not know the service"),
    ],
)  # fmt: skip
def test_the_description_of_an_error_quotes_nothing(error: Exception, text: str) -> None:
    assert describe_error(error) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("DENIED secret", "it is in protected mode"),
        ("MOVED 5 h:1", "it is a node of a Cluster, which redis+cluster:// names"),
        ("LOADING secret", "it is still loading its data"),
        ("NOAUTH secret", "it does not accept the credentials"),
        ("ERR max number of clients reached", "no connection is left"),
        ("NOPERM secret", "it does not accept the credentials"),
        ("MISCONF secret", "it answers MISCONF"),
        ("A" * 99, f"it answers {'A' * 20}"),
    ],
)
def test_an_error_reply_is_described_by_its_code(text: str, why: str) -> None:
    assert RedisError(text).describe() == why
