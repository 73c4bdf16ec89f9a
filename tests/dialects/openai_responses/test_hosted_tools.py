"""A conversation in which the provider's own tools worked can continue in any other dialect."""

import json
from typing import Any

import pytest

from gateway.dialects import DIALECTS, compatibility, translation
from gateway.dialects.member_list import READ, WHOLE
from gateway.dialects.openai_responses import schema
from tests.dialects.cases import target
from tests.dialects.openai_responses.cases import Object, decoded

SEARCH: Object = {
    "type": "web_search_call",
    "id": "ws_1",
    "action": {
        "type": "search",
        "query": "rain",
        "queries": ["rain", "rain today"],
        "sources": [{"type": "url", "url": "https://a.test"}],
    },
}
TOOL_WORK: dict[str, tuple[Object, str]] = {
    "a search": (SEARCH, "rain\nrain today\nhttps://a.test"),
    "an older search": ({"type": "web_search_call", "action": {"query": "rain"}}, "rain"),
    "a page": ({"type": "web_search_call", "action": {"type": "find_in_page", "url": "https://a.test", "pattern": "wet"}}, "wet\nhttps://a.test"),
    "files": (
        {"type": "file_search_call", "queries": ["q"], "results": [{"filename": "a.md", "text": "one", "score": 1}, {"filename": "b.md", "text": "two"}]},
        "q\na.md\none\nb.md\ntwo",
    ),
    "files without results": ({"type": "file_search_call", "queries": ["q"], "results": None}, "q"),
    "code": (
        {"type": "code_interpreter_call", "code": "print(1)", "container_id": "c", "outputs": [{"type": "logs", "logs": "1"}, {"type": "image", "url": "https://a.test/p"}]},
        "print(1)\n1\nhttps://a.test/p",
    ),
    "a program": ({"type": "program", "code": "f()", "fingerprint": "x"}, "f()"),
    "a program's result": ({"type": "program_output", "result": "4"}, "4"),
    "a local shell": ({"type": "local_shell_call", "action": {"type": "exec", "command": ["ls", "-l"]}}, "ls\n-l"),
    "its output": ({"type": "local_shell_call_output", "id": "l", "output": "a b"}, "a b"),
    "a shell": ({"type": "shell_call", "action": {"commands": ["ls", "pwd"]}}, "ls\npwd"),
    "its outputs": (
        {"type": "shell_call_output", "output": [{"stdout": "a", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}, {"stdout": "", "stderr": "", "outcome": {"type": "timeout"}}]},
        "a\nexit\n0\ntimeout",
    ),
    "a patch": ({"type": "apply_patch_call", "operation": {"type": "create_file", "path": "a", "diff": "+b"}}, "create_file\na\n+b"),
    "its outcome": ({"type": "apply_patch_call_output", "status": "failed", "output": "no"}, "failed\nno"),
    "a tool of a server": ({"type": "mcp_call", "server_label": "s", "name": "f", "arguments": "{}", "output": "4"}, "s\nf\n{}\n4"),
    "its error": ({"type": "mcp_call", "name": "f", "error": {"type": "mcp_tool_execution_error", "content": [{"type": "text", "text": "no"}]}}, "f\nno"),
    "nothing": ({"type": "web_search_call"}, ""),
}  # fmt: skip
OTHERS = [name for name in DIALECTS if name != "openai-responses"]


def converse(*items: Object) -> list[Object]:
    """Put items between a question and the next one."""
    return [{"role": "user", "content": "hi"}, *items, {"role": "user", "content": "so?"}]


def write(name: str, items: list[Object], **members: Any) -> tuple[Object, list[tuple[str, str]]]:
    """Write a request in another dialect: the body, and the losses by name and action."""
    request = decoded(input=items, **members)
    assert compatibility.check_request(request, name)[1] == []
    written = translation.write_request(request, DIALECTS[name], target())
    return json.loads(written.body), [(loss.field, loss.action) for loss in written.losses]


@pytest.mark.parametrize(("item", "text"), TOOL_WORK.values(), ids=TOOL_WORK)
def test_the_work_of_a_hosted_tool_becomes_text_and_is_named(item: Object, text: str) -> None:
    whole = f"[{item['type']}]\n{text}".strip()
    for name in OTHERS:
        body, losses = write(name, converse(item))
        assert json.dumps(whole)[1:-1] in json.dumps(body)
        assert losses == [(f"input.{item['type']}", "approximated")]


@pytest.mark.parametrize(
    "kind",
    [
        name.removeprefix("item:")
        for name, members in schema.REQUEST.items()
        if name.startswith("item:") and members.get(WHOLE, READ).decision == "named"
    ],
)
def test_an_item_without_text_is_left_out_and_named(kind: str) -> None:
    """A client may send such items itself, such as pictures of its screen."""
    for name in OTHERS:
        body, losses = write(name, converse({"type": kind, "id": "it_1", "output": {"a": "b"}}))
        assert (body, []) == write(name, converse())
        assert losses == [(f"input.{kind}", "dropped")]


def test_the_models_words_stay_separate_from_the_work_of_tools() -> None:
    """A few dialects join adjacent texts."""
    look, answer = ({"role": "assistant", "content": text} for text in ("I look.", "Wet."))
    page = {"type": "web_search_call", "action": {"url": "https://a.test"}}
    call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
    body, _ = write("openai-chat", converse(look, SEARCH, page, answer, look, call, SEARCH))
    assert body["messages"][1]["content"] == (
        "I look.\n\n[web_search_call]\nrain\nrain today\nhttps://a.test"
        "\n\n[web_search_call]\nhttps://a.test\n\nWet.I look."
        "\n\n[web_search_call]\nrain\nrain today\nhttps://a.test"
    )


def test_a_hosted_tool_that_the_client_offers_is_refused() -> None:
    request = decoded(input=converse(SEARCH), tools=[{"type": "web_search"}])
    for name in OTHERS:
        (refusal,) = compatibility.check_request(request, name)[1]
        assert refusal.startswith("tools.web_search: ")
    chosen = decoded(tool_choice={"type": "file_search"})
    (refusal,) = compatibility.check_request(chosen, "gemini")[1]
    assert refusal == "tool_choice.file_search: gemini does not have this tool of another provider"


def test_an_item_with_a_malformed_type_is_refused() -> None:
    request = decoded(input=converse({"type": ["web_search_call"]}))
    (refusal,) = compatibility.check_request(request, "gemini")[1]
    assert refusal.startswith("input.['web_search_call']: ")
