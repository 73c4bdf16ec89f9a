"""Each endpoint of the official SDKs is in a table, served by the gateway, or refused by name."""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

import pytest

from gateway.core.passthrough import OBJECT_KINDS, PassThroughEndpoint, PassThroughTable
from gateway.dialects import DIALECTS
from gateway.settings.passthrough import TABLES
from tests.drift.endpoint_decisions import (
    REFUSED,
    find_reason,
    list_own_endpoints,
    list_table_endpoints,
    list_undecided_endpoints,
)
from tests.drift.sdk_endpoints import list_endpoints, normalise
from tests.drift.search import SDKS

OLDER = {"POST /v1beta/models/{}:predict", "POST /v1beta/models/{}:predictLongRunning"}
"""Endpoints that only older SDKs call: Imagen and Veo, which the newest calls on Vertex AI alone."""
APIS = {"openai-": "openai", "anthropic-": "anthropic", "gemini-": "google-genai"}
"""The SDK of each API, by how the names of its tables begin."""


def list_pairs() -> Iterator[tuple[PassThroughTable, PassThroughEndpoint]]:
    """Yield each endpoint with its table."""
    for table in TABLES.values():
        for endpoint in table.endpoints:
            yield table, endpoint


@pytest.mark.parametrize("sdk", SDKS)
def test_every_endpoint_of_an_sdk_is_served_or_refused_for_a_reason(sdk: str) -> None:
    assert [*list_undecided_endpoints(sdk)] == []


@pytest.mark.parametrize("sdk", SDKS)
def test_nothing_is_both_served_and_refused(sdk: str) -> None:
    served = list_endpoints(sdk) & (list_table_endpoints() | list_own_endpoints())
    assert sorted(item for item in served if find_reason(sdk, item) is not None) == []


@pytest.mark.parametrize("sdk", SDKS)
def test_every_reason_refuses_an_endpoint(sdk: str) -> None:
    endpoints = list_endpoints(sdk)
    unused = [
        pattern
        for pattern in REFUSED[sdk]
        if not any(fnmatchcase(endpoint, pattern) for endpoint in endpoints)
    ]
    assert unused == []


@pytest.mark.parametrize("prefix", APIS)
def test_the_tables_of_an_api_have_the_paths_of_its_sdk(prefix: str) -> None:
    assert sorted(list_table_endpoints(prefix) - list_endpoints(APIS[prefix]) - OLDER) == []


def test_the_reader_finds_the_endpoints_of_every_kind_of_source() -> None:
    assert "GET /v1/messages/batches/{}/results" in list_endpoints("anthropic")
    assert "POST /v1/vector_stores/{}/search" in list_endpoints("openai")
    assert {
        "GET /v1beta/files/{}:download",
        "GET /v1beta/models/{}/operations/{}",
        "GET /v1beta/fileSearchStores/{}/media/{}",
        "POST /v1beta/interactions",
    } <= list_endpoints("google-genai")


def test_no_table_leads_to_secrets_or_to_the_organisation() -> None:
    forbidden = re.compile(
        r"organi[sz]ation|project|api_key|admin|user|invite|webhook|certificate|audit|usage|cost"
        r"|secret|session|auth_token|credential|vault|permission|register|billing|/me\b"
    )
    assert [
        table.name for table, endpoint in list_pairs() if forbidden.search(endpoint.path.lower())
    ] == []


def test_two_apis_spell_a_path_that_they_share_alike() -> None:
    """The routes compare templates, so `/files/{file_id}` and `/files/{id}` would be two."""
    templates: dict[str, set[str]] = {}
    for table, endpoint in list_pairs():
        template = table.prefix + endpoint.path
        templates.setdefault(f"{endpoint.method} {normalise(template)}", set()).add(template)
    assert [names for names in templates.values() if len(names) > 1] == []


def test_the_tables_agree_with_themselves() -> None:
    kinds = {*OBJECT_KINDS.values(), "upload_part"}
    for table, endpoint in list_pairs():
        where = f"{table.name} {endpoint.name}"
        assert table.dialect in DIALECTS, where
        assert {endpoint.creates, endpoint.lists, *endpoint.makes.values()} <= {*kinds, ""}, where
        assert endpoint.is_upload == (endpoint.body in ("multipart", "bytes")), where
        names_model = "model" in endpoint.placeholders and endpoint.method == "POST"
        assert (endpoint.model == "path") == names_model, where
        assert endpoint.method != "GET" or endpoint.body == "none", where
        assert endpoint.billing != "units" or endpoint.unit, where
        if endpoint.deletes:
            last = endpoint.path.rpartition("{")[2].removesuffix("}")
            assert endpoint.method == "DELETE", where
            assert last in OBJECT_KINDS, where
    names = [(table.name, endpoint.name) for table, endpoint in list_pairs()]
    assert len({*names}) == len(names)
