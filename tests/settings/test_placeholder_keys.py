"""Credentials that can be no key of the provider: the gateway warns, and never shows them."""

from pathlib import Path

import pytest

from tests.settings import world

SHORT_KEY_WARNING = (
    "c.yaml:6: warning: providers.acme.accounts.main: looks like a placeholder and no key: it has "
    "fewer than 16 characters. Put the provider's own key there; leave it empty to turn the "
    "provider off."
)
EXAMPLE_KEY_WARNING = SHORT_KEY_WARNING.replace(
    "it has fewer than 16 characters", "it is an example's"
)
REAL_KEY = "sk-0123456789abcdef"


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("none", SHORT_KEY_WARNING), ("ollama", SHORT_KEY_WARNING), ("changeme", SHORT_KEY_WARNING), ("g", SHORT_KEY_WARNING), (REAL_KEY[:15], SHORT_KEY_WARNING), (" none ", SHORT_KEY_WARNING),
        ("sk-your-api-key-goes-here", EXAMPLE_KEY_WARNING), ("<your-provider-key>", EXAMPLE_KEY_WARNING), ("sk-xxxxxxxxxxxxxxxxxxxx", EXAMPLE_KEY_WARNING),
        ("CHANGE_ME_0123456789", EXAMPLE_KEY_WARNING), ("<paste-it-in-here>", EXAMPLE_KEY_WARNING),
    ],
)  # fmt: skip
def test_a_placeholder_for_a_key_is_a_warning(tmp_path: Path, key: str, expected: str) -> None:
    assert world.warnings(tmp_path, world.BASE, {"ACME_API_KEY": key}) == [expected]


@pytest.mark.parametrize("key", ["", REAL_KEY, REAL_KEY[:16], "0123456789abcdef0123456789abcdef"])
def test_a_possible_key_is_no_warning(tmp_path: Path, key: str) -> None:
    assert world.warnings(tmp_path, world.BASE, {"ACME_API_KEY": key}) == []


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:11434/v1", "http://127.0.0.1:8000/v1", "http://[::1]:8000/v1", "http://10.0.0.7/v1",
        "http://192.168.1.5/v1", "http://vllm:8000/v1", "http://gpu.local/v1", "http://llm.svc.internal/v1",
    ],
)  # fmt: skip
def test_a_placeholder_for_a_private_address_is_no_warning(tmp_path: Path, url: str) -> None:
    text = world.BASE.replace("https://acme.example/v1", f"'{url}'")
    assert world.warnings(tmp_path, text, {"ACME_API_KEY": "none"}) == []


@pytest.mark.parametrize("url", ["https://8.8.8.8/v1", "https://api.acme.com"])
def test_a_placeholder_for_a_public_address_is_a_warning(tmp_path: Path, url: str) -> None:
    text = world.BASE.replace("https://acme.example/v1", f"'{url}'")
    assert world.warnings(tmp_path, text, {"ACME_API_KEY": "none"}) == [SHORT_KEY_WARNING]


@pytest.mark.parametrize(
    "setting", ["auth: none", "optional_key: true", "command: [engine]", "base_url: 'http://['"]
)
def test_a_provider_that_needs_no_key_gets_no_warning(tmp_path: Path, setting: str) -> None:
    text = world.BASE.replace("    accounts:", f"    {setting}\n    accounts:")
    if setting.startswith("base_url"):
        text = text.replace("    base_url: https://acme.example/v1\n", "", 1)
    source = world.loaded(tmp_path, text, {"ACME_API_KEY": "none"})
    assert not [warning for warning in world.credentials(source) if "placeholder" in warning]


def test_a_placeholder_at_a_provider_that_is_off_is_no_warning(tmp_path: Path) -> None:
    off = frozenset({"acme"})
    assert world.warnings(tmp_path, world.BASE, {"ACME_API_KEY": "none"}, off=off) == []


def test_a_placeholder_for_public_replicas_is_a_warning(tmp_path: Path) -> None:
    text = world.BASE.replace("base_url: https://acme.example/v1", "replicas: [https://acme.com]")
    assert world.warnings(tmp_path, text, {"ACME_API_KEY": "none"}) == [SHORT_KEY_WARNING]
