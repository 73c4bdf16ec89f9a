"""Paths of clients against the templates of pass-through endpoints."""

import msgspec
import pytest

from gateway.core.passthrough import (
    PassThroughEndpoint,
    PassThroughMatch,
    PassThroughRoutes,
    PassThroughTable,
    ProviderEndpoint,
)
from gateway.core.target import Provider

FILES = PassThroughTable(
    name="files",
    prefix="/v1",
    dialect="openai-chat",
    endpoints=(
        PassThroughEndpoint(name="files.retrieve", method="GET", path="/files/{file_id}"),
        PassThroughEndpoint(name="files.delete", method="DELETE", path="/files/{file_id}"),
        PassThroughEndpoint(name="files.latest", method="GET", path="/files/latest"),
        PassThroughEndpoint(name="skills.retrieve", method="GET", path="/skills/{skill_id}"),
        PassThroughEndpoint(name="skills.delete", method="DELETE", path="/skills/{skill_id}"),
        PassThroughEndpoint(
            name="parts.retrieve", method="GET", path="/files/{file_id}/parts/{item_id}"
        ),
    ),
)
GEMINI = PassThroughTable(
    name="gemini",
    prefix="/v1beta",
    dialect="gemini",
    has_resource_names=True,
    endpoints=(
        PassThroughEndpoint(
            name="models.predict", method="POST", path="/models/{model}:predict", model="path"
        ),
        PassThroughEndpoint(name="files.get", method="GET", path="/files/{file_id}"),
        PassThroughEndpoint(
            name="operations.get", method="GET", path="/models/{model}/operations/{operation_id}"
        ),
    ),
)


def make_routes(*names: str) -> PassThroughRoutes:
    return PassThroughRoutes(
        ProviderEndpoint(
            endpoint=endpoint,
            table=table,
            provider=Provider(name=name, urls={}),
            lab=name,
            base_url=f"https://{name}.test/base",
        )
        for name in names
        for table in (FILES, GEMINI)
        for endpoint in table.endpoints
    )


def test_a_path_leads_to_the_endpoint_of_each_provider_that_has_it() -> None:
    match = make_routes("a", "b").match("GET", b"/v1/files/file-1")
    assert match is not None
    assert [item.provider.name for item in match.candidates] == ["a", "b"]
    assert match.candidates[1].build_url(match.parameters) == "https://b.test/base/files/file-1"
    assert match.candidates[1].list_object_ids(match.parameters) == ["file-1"]


def test_a_literal_segment_comes_before_a_placeholder() -> None:
    match = make_routes("a").match("GET", b"/v1/files/latest")
    assert match is not None
    assert match.candidates[0].endpoint.name == "files.latest"


def test_a_skill_of_the_provider_itself_belongs_to_everybody_who_looks_at_it() -> None:
    match = make_routes("a").match("GET", b"/v1/skills/xlsx")
    assert match is not None
    assert match.candidates[0].list_object_ids(match.parameters) == []
    assert match.candidates[0].list_object_ids({"skill_id": "skill_1"}) == ["skill_1"]
    match = make_routes("a").match("DELETE", b"/v1/skills/xlsx")
    assert match is not None
    assert match.candidates[0].list_object_ids(match.parameters) == ["xlsx"]


def test_parts_of_an_object_are_no_objects_of_their_own() -> None:
    match = make_routes("a").match("GET", b"/v1/files/file-1/parts/p2")
    assert match is not None
    assert match.candidates[0].list_object_ids(match.parameters) == ["file-1"]


@pytest.mark.parametrize("name", ["files/abc", "models/veo-3.0/operations/abc"])
def test_a_resource_name_is_the_whole_path_of_its_object(name: str) -> None:
    match = make_routes("a").match("GET", b"/v1beta/" + name.encode())
    assert match is not None
    assert match.candidates[0].list_object_ids(match.parameters) == [name]


def test_a_method_after_a_colon_is_part_of_the_template() -> None:
    routes = make_routes("a")
    match = routes.match("POST", b"/v1beta/models/imagen-4:predict")
    assert match is not None
    assert match.candidates[0].build_url(match.parameters, "alt=sse") == (
        "https://a.test/base/models/imagen-4:predict?alt=sse"
    )
    assert routes.match("POST", b"/v1beta/models/imagen-4:other") is None


def test_an_encoded_path_is_decoded_once_and_built_anew() -> None:
    match = make_routes("a").match("GET", b"/v1/%66iles/file%2D1")
    assert match is not None
    assert match.candidates[0].build_url(match.parameters) == "https://a.test/base/files/file-1"


@pytest.mark.parametrize(
    "path",
    [
        b"/v1/files/..",
        b"/v1/files/%2e%2e",
        b"/v1/files/.",
        b"/v1/files/a%2fb",
        b"/v1/files/a%252fb",
        b"/v1/files/a%5cb",
        b"/v1/files/a%00",
        b"/v1/files/a%0d%0a",
        b"/v1/files/a;b",
        b"/v1/files/a:b",
        b"/v1/files/%c3%a9",
        b"/v1/files/",
        b"/v1//files/a",
        b"//v1/files/a",
        b"/v1/files/a/",
        b"/v1/../v1/files/a",
        b"/v1/files/" + b"a" * 257,
        b"/v1/" + b"a/" * 2000,
        b"v1/files/a",
        b"/v2/files/a",
    ],
)
def test_a_path_that_could_mean_something_else_leads_nowhere(path: bytes) -> None:
    routes = make_routes("a")
    assert routes.match("GET", path) is None
    assert routes.list_methods(path) == []


def test_a_method_that_no_endpoint_has_leads_nowhere() -> None:
    routes = make_routes("a")
    assert routes.match("PATCH", b"/v1/files/file-1") is None
    assert routes.list_methods(b"/v1/files/file-1") == ["DELETE", "GET"]


def test_two_apis_may_share_a_path() -> None:
    match = make_routes("a").match("GET", b"/v1/files/file-1")
    assert match is not None
    other = msgspec.structs.replace(match.candidates[0].table, dialect="anthropic-messages")
    claude = msgspec.structs.replace(match.candidates[0], table=other)
    both = PassThroughMatch((*match.candidates, claude), match.parameters)
    assert both.prefer_dialect("anthropic-messages").candidates == (claude,)
    assert both.prefer_dialect("gemini") is both
