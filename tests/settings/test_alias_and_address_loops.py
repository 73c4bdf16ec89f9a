"""Aliases and providers that lead back to where they began."""

from pathlib import Path

import pytest

from gateway.settings.validate import find_alias_cycle
from tests.settings import world

URL = "https://acme.example/v1"


@pytest.mark.parametrize(
    ("aliases", "path"),
    [
        ({}, []),
        ({"a": "x"}, []),
        ({"a": "b", "b": "x"}, []),
        ({"a": "a"}, ["a", "a"]),
        ({"a": "b", "b": "c", "c": "a"}, ["a", "b", "c", "a"]),
        ({"a": "b", "b": "b"}, []),
        ({"a": "b", "b": "c", "c": "b"}, []),
    ],
)
def test_an_alias_cycle_is_found_with_its_path(aliases: dict[str, str], path: list[str]) -> None:
    """An alias that leads into a circle is not on it, and the walk ends."""
    assert find_alias_cycle(aliases, "a") == path


ITSELF = [
    ("127.0.0.1", "http://127.0.0.1:8484/v1"),
    ("127.0.0.1", "http://localhost:8484/v1"),
    ("127.0.0.1", "http://LOCALHOST:8484/v1"),
    ("127.0.0.1", "http://gw.localhost:8484/v1"),
    ("127.0.0.1", "http://0.0.0.0:8484/v1"),
    ("127.0.0.1", "http://[::ffff:127.0.0.1]:8484/v1"),
    ("localhost", "http://[::1]:8484/v1"),
    ("localhost", "https://127.0.0.1:8484"),
    ("::1", "http://localhost:8484/v1"),
    ("::1", "http://[::]:8484/v1"),
    ("0.0.0.0", "http://127.0.0.9:8484/v1"),
    ("0.0.0.0", "http://localhost:8484/v1"),
    ("0.0.0.0", "http://0.0.0.0:8484/v1"),
    ("::", "http://127.0.0.1:8484/v1"),
    ("::", "http://[::1]:8484/v1"),
    ("10.0.0.5", "http://10.0.0.5:8484/v1"),
    ("Gateway.Example", "http://gateway.example:8484/v1"),
]
ELSEWHERE = [
    ("127.0.0.1", "http://127.0.0.1:8485/v1"),  # another gateway
    ("127.0.0.1", "http://127.0.0.2:8484/v1"),
    ("127.0.0.1", "http://[::1]:8484/v1"),
    ("127.0.0.1", "http://localhost/v1"),
    ("127.0.0.1", "http://gateway.example:8484/v1"),
    ("0.0.0.0", "http://10.0.0.5:8484/v1"),
    ("0.0.0.0", "http://[::1]:8484/v1"),
    ("10.0.0.5", "http://127.0.0.1:8484/v1"),
    ("127.0.0.1", "http://127.0.0.1:port/v1"),
    ("127.0.0.1", "http:///v1"),
]


def listening(host: str, url: str, port: int = 8484) -> str:
    return world.BASE.replace(URL, url) + f"server: {{host: '{host}', port: {port}}}\n"


@pytest.mark.parametrize(("host", "url"), ITSELF)
def test_a_provider_whose_address_is_this_gateway_is_a_warning(
    tmp_path: Path, host: str, url: str
) -> None:
    (warning,) = world.warnings(tmp_path, listening(host, url))
    assert warning.startswith("c.yaml:4: warning: providers.acme.base_url: ")
    assert warning.endswith(
        ":8484 is this gateway itself: calls would go in circles. "
        "Give the provider's own address, or the gateway another `server.port`."
    )


@pytest.mark.parametrize(("host", "url"), ELSEWHERE)
def test_a_provider_at_another_address_is_no_warning(tmp_path: Path, host: str, url: str) -> None:
    assert world.warnings(tmp_path, listening(host, url)) == []


def test_a_url_without_a_port_has_that_of_its_scheme(tmp_path: Path) -> None:
    assert len(world.warnings(tmp_path, listening("127.0.0.1", "http://localhost", 80))) == 1
    assert len(world.warnings(tmp_path, listening("127.0.0.1", "https://localhost", 443))) == 1


def test_the_address_of_a_single_endpoint_is_checked_too(tmp_path: Path) -> None:
    text = world.BASE.replace("/chat/completions", '"http://localhost:8484/v1/chat/completions"')
    (warning,) = world.warnings(tmp_path, text)
    assert warning.startswith(
        "c.yaml:5: warning: providers.acme.dialects.openai-chat: localhost:8484"
    )
    text = text.replace("    base_url: https://acme.example/v1\n", "")
    assert len(world.warnings(tmp_path, text)) == 1


def test_a_provider_that_is_off_or_started_by_the_gateway_is_no_warning(tmp_path: Path) -> None:
    text = world.BASE.replace(URL, "http://localhost:8484/v1")
    assert world.warnings(tmp_path, text, off=frozenset({"acme"})) == []
    started = text.replace("    accounts:", "    command: [engine]\n    accounts:")
    assert world.warnings(tmp_path, started) == []
