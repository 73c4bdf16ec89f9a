"""The tables of pass-through endpoints that a provider names."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway.settings.passthrough import TABLES, select_tables
from tests.settings.world import built, mistakes

TWO_PROVIDERS = """
version: 1
providers:
  host:
    base_url: https://host.example/v1
    dialects: {openai-chat: /chat/completions}
    endpoints: {openai-files: "", openai-images: /pictures}
    auth: none
  acme:
    base_url: https://acme.example/v1
    dialects: {openai-chat: /chat/completions}
    endpoints: {openai: ""}
    auth: none
labs:
  acme:
    fast: [{model: a}, {provider: host, model: a}]
    smart: [{model: a}]
    reasoning: [{model: a}]
"""


def test_the_name_of_an_api_stands_for_all_of_its_tables() -> None:
    assert set(select_tables({"anthropic": "/v1"})) == {
        name for name in TABLES if name.startswith("anthropic-")
    }


@pytest.mark.parametrize(
    "endpoints",
    [
        {"gemini": "/v1beta", "gemini-uploads": "/upload/v1beta"},
        {"gemini-uploads": "/upload/v1beta", "gemini": "/v1beta"},
    ],
)
def test_a_table_goes_before_its_api(endpoints: Mapping[str, str]) -> None:
    selected = select_tables(endpoints)
    assert selected["gemini-uploads"] == "/upload/v1beta"
    assert selected["gemini-files"] == "/v1beta"


def test_the_provider_of_a_lab_comes_before_hosts_of_its_models(tmp_path: Path) -> None:
    routes = built(tmp_path, TWO_PROVIDERS).passthrough
    match = routes.match("GET", b"/v1/files")
    assert match is not None
    assert [item.provider.name for item in match.candidates] == ["acme", "host"]
    images = routes.match("POST", b"/v1/images/generations")
    assert images is not None
    assert [item.base_url for item in images.candidates] == [
        "https://acme.example/v1",
        "https://host.example/v1/pictures",
    ]


def test_a_provider_may_have_endpoints_alone(tmp_path: Path) -> None:
    text = TWO_PROVIDERS.replace(", {provider: host, model: a}", "").replace(
        """    base_url: https://host.example/v1
    dialects: {openai-chat: /chat/completions}
""",
        "    base_url: https://host.example/v1\n",
    )
    routes = built(tmp_path, text).passthrough
    match = routes.match("POST", b"/v1/images/generations")
    assert match is not None
    assert {item.lab for item in match.candidates} == {"acme", "host"}


def test_no_lab_has_a_target_at_a_provider_without_dialects(tmp_path: Path) -> None:
    text = TWO_PROVIDERS.replace(
        """    base_url: https://host.example/v1
    dialects: {openai-chat: /chat/completions}
""",
        "    base_url: https://host.example/v1\n",
    )
    assert mistakes(tmp_path, text) == [
        "c.yaml:15: error: labs.acme.fast[1]: the provider 'host' has no `dialects`, only `endpoints`."
    ]
