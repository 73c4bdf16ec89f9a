"""The ids of objects that a request names."""

import ast
import importlib.util
import re
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from gateway.core import jsonio
from gateway.core.errors import ProblemError
from gateway.core.object_ids import (
    CALL_MARKS,
    TABLES,
    ObjectApi,
    call_may_name_objects,
    find_file_name,
    find_item_references,
    find_objects,
    may_name_objects,
)

FILES = "https://generativelanguage.googleapis.com/v1beta/files/abc-1"
SDK_TYPES: Mapping[ObjectApi, tuple[str, ...]] = {
    "openai": ("openai/types",),
    "anthropic": ("anthropic/types",),
    "gemini": ("google/genai/types.py", "google/genai/_gaos/types"),
}
NEVER_LISTED: Mapping[ObjectApi, str] = {
    # Administration, webhooks, and agents that live at a provider are no endpoints of the gateway.
    "openai": r"admin/|webhooks/|live/|safety/|evals/|beta/(?!beta_response|responses|response_)",
    "anthropic": (
        r"(beta/)?(organization|compliance|sessions|vaults|memory_stores|environments|agents"
        r"|deployments|user_profiles|dreams)/"
        r"|(beta/)?(session|vault|memory|environment|agent|deployment|dream|user_profile)_"
        r"|beta/beta_(managed_agents|dream|output_behavior|compliance|user_profile)"
    ),
    "gemini": r"(agents|credentials|environments|triggers|voices|webhooks)/",
}
ID_NAME = re.compile(
    r"(^|_)(ids?|uris?|file|files|container|conversation|cached_content|corpus|environment"
    r"|store_names?|file_name)$"
)
"""The form of the names of members that may hold an id."""
EXCEPTIONS: Mapping[ObjectApi, Mapping[str, str]] = {
    "openai": {
        "approval_request_id": "an item of the same request",
        "call_id": "an item of the same request",
        "caller_id": "an item of the same request",
        "comparison_response_id": "shows only which prefix of a prompt was cached",
        "connector_id": "a public name",
        "continuation_id": "the client's own word for a priority",
        "event_id": "the client's own id",
        "environment": "an object with container_id or skills",
        "file": "the content of a file, or an object with file_id",
        "files": "contents of files, or objects with file_id",
        "group_id": "the client's own word for traces",
        "id": "of an item of the request; `holders` has the exceptions",
        "item_id": "an item of the same realtime session",
        "previous_item_id": "an item of the same realtime session",
        "project_id": "administration: permissions of checkpoints are not listed",
        "project_ids": "administration: permissions of checkpoints are not listed",
        "response_id": "an answer of the same realtime session",
        "stream_id": "the client's own word for a lane",
        "target_uri": "a telephone number",
        "tool_call_id": "an item of the same request",
        "tunnel_id": "made by the operator, who decides with server_url too",
    },
    "anthropic": {
        "after_id": "a parameter of the query, see the endpoint's list",
        "before_id": "a parameter of the query, see the endpoint's list",
        "custom_id": "the client's own id",
        "download_id": "an event of the client's own browser",
        "file": "the content of a file",
        "files": "contents of files",
        "id": "of an item of the request; `holders` has the exceptions",
        "ids": "a parameter of the query, see the endpoint's list",
        "scope_id": "a parameter of the query, see the endpoint's list",
        "tab_id": "a tab of the client's own browser",
        "tool_id": "an item of the same request",
        "tool_use_id": "an item of the same request",
        "user_id": "the client's own word for its user",
        "user_profile_id": "made by the operator: user profiles are no endpoint of the gateway",
        "workspace_id": "the operator's: a credential of the provider decides",
    },
    "gemini": {
        "bigquery_uri": "Vertex: Google's own permissions decide",
        "call_id": "an item of the same request",
        "checkpoint_id": "a part of a model's name",
        "cloud_run_uri": "Vertex: Google's own permissions decide",
        "continuation_ids": "of an answer",
        "default_checkpoint_id": "a part of a model's name",
        "document_uri": "of an answer",
        "download_uri": "of an answer",
        "event_id": "of an answer",
        "finding_id": "of an answer of the same agent",
        "files": "of an answer",
        "gcs_metrics_uri": "Vertex: Google's own permissions decide",
        "gcs_uri": "Cloud Storage: Google's own permissions decide",
        "id": "of an item of the request or an answer",
        "ids": "of an answer",
        "input_uri": "Vertex: Google's own permissions decide",
        "interaction_id": "of an answer",
        "media_id": "of an answer",
        "output_gcs_uri": "Cloud Storage: Google's own permissions decide",
        "output_uri": "Vertex: Google's own permissions decide",
        "place_id": "a public name",
        "pre_tuned_model_checkpoint_id": "a part of a model's name",
        "rag_corpus": "Vertex: Google's own permissions decide",
        "rag_file_ids": "Vertex: Google's own permissions decide",
        "reference_id": "a number within the request",
        "review_id": "of an answer",
        "session_id": "of an answer",
        "source_files": "objects with uri",
        "training_dataset_uri": "Vertex: Google's own permissions decide",
        "uris": "addresses of webhooks, or Cloud Storage",
        "validation_dataset_uri": "Vertex: Google's own permissions decide",
        "prompt_dataset_uri": "Vertex: Google's own permissions decide",
    },
}  # fmt: skip
"""Members that hold no id of an object of a key, each with the reason."""
OUTPUT_ONLY = re.compile(
    r"(Grounding|Citation|RagChunk|LogprobsResult|TokensInfo|_|Endpoint|Model|Replay|TestTable"
    r"|ImportFileResponse|UploadToFile|GenerateContentResponse|EvaluateDataset)"
)
"""Types of google-genai that no request has."""


def list_sdk_members(api: ObjectApi) -> Iterator[str]:
    """Yield the names of members of requests that have the form of an id's."""
    spec = importlib.util.find_spec("openai")
    assert spec is not None
    packages = Path(str(spec.origin)).parents[1]
    for place in SDK_TYPES[api]:
        folder = packages / place
        for file in [folder] if folder.is_file() else sorted(folder.rglob("*.py")):
            name = file.relative_to(folder).as_posix()
            if not re.match(NEVER_LISTED[api], name):
                yield from list_members(file)


def list_members(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if not isinstance(node, ast.ClassDef) or not is_request_type(node):
            continue
        for item in node.body:
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                yield item.target.id


def is_request_type(node: ast.ClassDef) -> bool:
    bases = " ".join(ast.unparse(base) for base in node.bases)
    return bool(re.search(r"TypedDict|Params?\b|Base\b", bases)) and not OUTPUT_ONLY.match(
        node.name
    )


@pytest.mark.parametrize("api", ["openai", "anthropic", "gemini"])
def test_each_member_of_the_sdks_that_may_hold_an_id_is_decided_on(api: ObjectApi) -> None:
    names = {name for name in list_sdk_members(api) if ID_NAME.search(name)}
    assert len(names) > 10
    table = TABLES[api]
    decided = {*table.members, *EXCEPTIONS[api]}
    assert names <= decided, "name these in gateway/core/object_ids.py, or here with a reason"
    assert set(EXCEPTIONS[api]) <= names, "these exceptions are no longer in the SDK"


def find(api: ObjectApi, value: Any) -> list[str]:
    body = jsonio.dumps(value)
    return [item.id for item in find_objects(api, body, value)]


@pytest.mark.parametrize(
    ("api", "value", "ids"),
    [
        ("openai", {"input_file_id": "file-1", "endpoint": "/v1/responses"}, ["file-1"]),
        ("openai", {"input_files": ["file-1"], "model": "x"}, ["file-1"]),
        ("openai", {"training_file": "file-1", "validation_file": "file-2"}, ["file-1", "file-2"]),
        ("openai", {"file_ids": ["file-1", "file-2", 3, None]}, ["file-1", "file-2"]),
        ("openai", {"conversation": "conv_1"}, ["conv_1"]),
        ("openai", {"conversation": {"id": "conv_1"}}, ["conv_1"]),
        ("openai", {"response": {"conversation": "none"}}, []),
        ("openai", {"audio": {"voice": {"id": "voice_1"}}}, ["voice_1"]),
        ("openai", {"audio": {"voice": "alloy"}}, []),
        ("openai", {"previous_response_id": "resp_1"}, ["resp_1"]),
        ("openai", {"characters": [{"id": "char_1"}, {"id": "char_2"}]}, ["char_1", "char_2"]),
        (
            "openai",
            {"messages": [{"content": [{"type": "file", "file": {"file_id": "file-1"}}]}]},
            ["file-1"],
        ),
        (
            "openai",
            {"tools": [{"type": "code_interpreter", "container": {"file_ids": ["file-1"]}}]},
            ["file-1"],
        ),
        (
            "openai",
            {"environment": {"skills": [{"skill_id": "skill_1"}, {"skill_id": "openai-pdf"}]}},
            ["skill_1"],
        ),
        ("openai", {"tools": [{"container": "cntr_1"}, {"vector_store_ids": ["vs_1"]}]},
         ["vs_1", "cntr_1"]),
        ("openai", {"metadata": {"file_id": "7"}, "tools": [{"parameters": {"file_id": "8"}}]}, []),
        ("openai", {"content": [{"annotations": [{"file_id": "file-1"}]}]}, []),
        ("openai", {"input": [{"type": "code_interpreter_call", "container_id": "cntr_1"}]}, []),
        (
            "openai",
            {"input": [{"type": "shell_call", "environment": {"container_id": "cntr_1"}}]},
            [],
        ),
        (
            "openai",
            {"environment": {"type": "container_reference", "container_id": "cntr_1"}},
            ["cntr_1"],
        ),
        ("anthropic", {"container": "container_1"}, ["container_1"]),
        (
            "anthropic",
            {"container": {"id": "c_1", "skills": [{"type": "custom", "skill_id": "skill_1"}]}},
            ["c_1", "skill_1"],
        ),
        ("anthropic", {"content": [{"source": {"type": "file", "file_id": "f_1"}}]}, ["f_1"]),
        ("anthropic", {"content": [{"type": "tool_use", "input": {"file_id": "mine"}}]}, []),
        ("anthropic", {"content": [{"type": ["tool_use"], "input": {"file_id": "f"}}]}, ["f"]),
        ("anthropic", {"content": [{"type": "code_execution_output", "file_id": "f_1"}]}, []),
        ("anthropic", {"thread": {"type": "continue", "previous_message_id": "msg_1"}}, ["msg_1"]),
        ("anthropic", {"diagnostics": {"previous_message_id": "msg_1"}}, []),
        ("gemini", {"cachedContent": "cachedContents/1"}, ["cachedContents/1"]),
        ("gemini", {"contents": [{"parts": [{"fileData": {"fileUri": FILES}}]}]}, ["files/abc-1"]),
        ("gemini", {"file_data": {"file_uri": "gs://bucket/a.pdf"}}, []),
        ("gemini", {"tools": [{"file_search": {"file_search_store_names": ["s/1"]}}]}, ["s/1"]),
        ("gemini", {"parts": [{"functionCall": {"args": {"fileUri": "files/x"}}}]}, []),
        ("gemini", {"environment": "env_1"}, ["env_1"]),
        ("gemini", {"tools": [{"type": "computer_use", "environment": "browser"}]}, []),
        ("gemini", {"input": [{"type": "file_search_result", "result": {"uri": "files/x"}}]}, []),
        ("gemini", [{"file_uri": ""}, 3], []),
        ("gemini", "cachedContent", []),
    ],
)  # fmt: skip
def test_ids_are_found_where_a_provider_looks_them_up(
    api: ObjectApi, value: Any, ids: list[str]
) -> None:
    assert sorted(find(api, value)) == sorted(ids)


def test_an_object_is_named_once_with_its_kind_and_its_member() -> None:
    value = {"a": {"vector_store_id": "vs_1"}, "vector_store_ids": ["vs_1"], "file_id": "f"}
    found = find_objects("openai", jsonio.dumps(value), value)
    assert {(item.id, item.kind) for item in found} == {("vs_1", "vector_store"), ("f", "file")}


@pytest.mark.parametrize(
    "body",
    [
        b'{"file_id": "theirs", "file_id": "mine"}',
        b'{"source": {"file_id": "theirs"}, "source": {"file_id": "mine"}}',
        b'{"file\\u005fid": "theirs"}',
        b'{"\\u0066ile_id" : "theirs", "file_id": "mine"}',
    ],
)
def test_a_member_that_a_provider_may_read_otherwise_is_refused(body: bytes) -> None:
    assert may_name_objects("openai", body)
    assert call_may_name_objects("openai-chat", body, ())
    with pytest.raises(ProblemError, match="stands twice in one object, or has escapes"):
        find_objects("openai", body, jsonio.loads(body))


def test_text_that_looks_like_a_member_is_none() -> None:
    value = {"text": 'say "file_id": "x"', 'a"file_id': "x", "key": '\\"file_id":', "e": "\u0007"}
    body = jsonio.dumps(value)
    assert find_objects("openai", body, value) == []


def test_so_many_ids_are_refused() -> None:
    value = {"file_ids": [f"file-{number}" for number in range(1001)]}
    with pytest.raises(ProblemError, match="at most 1,000 objects") as raised:
        find("openai", value)
    assert raised.value.problem.param == "file_ids"
    assert len(find("openai", {"file_ids": value["file_ids"][1:]})) == 1000


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        (FILES, "files/abc-1"),
        ("files/abc-1", "files/abc-1"),
        ("abc-1", "abc-1"),
        (f"{FILES}:download?alt=media", "files/abc-1"),
        ("https://gateway.example/upload/v1beta/files/abc-1", "files/abc-1"),
        ("HTTPS://GenerativeLanguage.GoogleAPIs.com./v1/files/abc-1#x", "files/abc-1"),
        ("https://www.youtube.com/watch?v=9hE5-98ZeCg", None),
        ("https://example.com/files/report.pdf", None),
        ("https://storage.googleapis.com/bucket/files/a.pdf", None),
        ("gs://bucket/files/a.pdf", None),
        ("https://x.googleapis.com./other/files/1", "https://x.googleapis.com./other/files/1"),
        ("https://[files/1", "https://[files/1"),
    ],
)
def test_a_uri_means_a_file_of_the_provider_or_media(uri: str, name: str | None) -> None:
    assert find_file_name(uri) == name


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        ("openai-chat", {"messages": [{"file": {"file_id": "f"}}]}),
        ("openai-chat", {"audio": {"voice": {"id": "v"}}}),
        ("openai-responses", {"input": [{"file_id": "f"}]}),
        ("openai-responses", {"tools": [{"vector_store_ids": ["v"]}]}),
        ("openai-responses", {"tools": [{"container": "c"}]}),
        ("openai-responses", {"tools": [{"environment": {"container_id": "c"}}]}),
        ("openai-responses", {"conversation": "c"}),
        ("anthropic-messages", {"messages": [{"file_id": "f"}]}),
        ("anthropic-messages", {"container": "c"}),
        ("anthropic-messages", {"thread": {"previous_message_id": "m"}}),
        ("gemini", {"cachedContent": "c"}),
        ("gemini", {"contents": [{"fileData": {"fileUri": "f"}}]}),
        ("gemini", {"contents": [{"file_data": {"file_uri": "f"}}]}),
        ("gemini", {"tools": [{"fileSearch": {"fileSearchStoreNames": ["f"]}}]}),
    ],
)
def test_a_quick_test_sees_each_call_that_names_an_object(
    dialect: str, body: dict[str, Any]
) -> None:
    data = jsonio.dumps(body)
    assert call_may_name_objects(dialect, data, body)
    assert find_objects(CALL_MARKS[dialect].api, data, body)


@pytest.mark.parametrize("dialect", CALL_MARKS)
def test_a_quick_test_passes_other_calls(dialect: str) -> None:
    body: dict[str, Any] = {
        "model": "x", "messages": [{"content": "a caf\u00e9, a file_ide, a <b>"}], "audio": {},
        "conversation": None, "container": None, "thread": None, "cachedContent": None,
    }  # fmt: skip
    data = jsonio.dumps({"model": "x", "text": "the file: \x07"})
    assert not call_may_name_objects(dialect, data, ["model", "text"])
    found = find_objects(CALL_MARKS[dialect].api, jsonio.dumps(body), body)
    assert found == []


def test_each_id_of_a_call_has_a_mark() -> None:
    for (dialect, marks), name in product(CALL_MARKS.items(), ["file_id", "fileUri", "file_uri"]):
        if name in TABLES[marks.api].members:
            data = jsonio.dumps({"deep": [{name: "x"}]})
            assert call_may_name_objects(dialect, data, ["deep"])


def test_references_to_items_are_found_with_and_without_their_type() -> None:
    items: list[Any] = [
        {"type": "item_reference", "id": "a", "x": 1}, {"type": None, "id": "b"}, {"id": "c"},
        {"id": "d", "role": "user"}, {"type": "message", "id": "e"}, {"type": "item_reference"}, "f", {"id": 7},
    ]  # fmt: skip
    assert find_item_references({"input": items}) == ["a", "b", "c"]
    assert find_item_references({"items": items[:1], "input": "text"}) == ["a"]
    assert find_item_references({"output": items}) == []


def test_a_type_that_stands_twice_frees_no_id() -> None:
    """Else the type of an answer would hide a file from the gateway, and not from the provider."""
    once = b'{"a": [{"type": "code_execution_output", "file_id": "x"}, {"type": "text"}, "type\\": 1"]}'
    assert find_objects("anthropic", once, jsonio.loads(once)) == []
    twice = b'{"source": {"type": "file", "type": "code_execution_output", "file_id": "x"}}'
    for body in (twice, twice.replace(b'"file",  "type"', b'"file", "typ\\u0065"')):
        with pytest.raises(ProblemError, match="`type` stands twice"):
            find_objects("anthropic", body, jsonio.loads(body))
    plain = b'{"source": {"type": "file", "type": "file", "file_id": "x"}}'
    (found,) = find_objects("anthropic", plain, jsonio.loads(plain))
    assert found.id == "x"
