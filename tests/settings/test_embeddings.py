"""Embedding models of a configuration: their endpoints, their prices and their mistakes."""

from pathlib import Path

import pytest

from gateway.core.target import Target
from tests.settings import world

LAB = world.BASE.replace(
    "    smart: [{model: large}]\n",
    "    smart: [{model: large}]\n    embeddings: [{model: vec}, {model: vec, provider: acme}]\n",
)
VEC = LAB + "  vec: {context: 512, refuses: [dimensions], price: {input: 1, output: 0}}\n"


def first(folder: Path, text: str) -> Target:
    return world.built(folder, text).catalogue.labs["acme"].embeddings[0]


def test_a_target_is_asked_beside_chat_completions(tmp_path: Path) -> None:
    built = world.built(tmp_path, VEC)
    found = built.catalogue.labs["acme"].embeddings
    assert [target.name for target in found] == ["acme/vec"] * 2
    assert found[0].provider.urls == {"openai-chat": "https://acme.example/v1/embeddings"}
    assert built.providers["acme"].urls["openai-chat"].endswith("/chat/completions")
    assert found[0].facts.refused_members == {"dimensions"}
    assert found[0].facts.prompt_window is None, "each input must fit, not all of them together"
    assert found[0].price is not None
    assert "vec" not in built.catalogue.models


@pytest.mark.parametrize(
    ("dialects", "doors"),
    [
        ("{gemini: /v1beta}", {"gemini": "https://acme.example/v1/v1beta"}),
        ("{openai-chat: '/chat/completions?v=1'}",
         {"openai-chat": "https://acme.example/v1/embeddings?v=1"}),
        ("{anthropic-messages: /m}\n    embeddings: /e", {"openai-chat": "https://acme.example/v1/e"}),
        ("{openai-responses: /r}\n    embeddings: 'https://e.example/e'",
         {"openai-chat": "https://e.example/e"}),
    ],
)  # fmt: skip
def test_doors_of_embeddings(tmp_path: Path, dialects: str, doors: dict[str, str]) -> None:
    text = VEC.replace("{openai-chat: /chat/completions}", dialects)
    assert first(tmp_path, text).provider.urls == doors


def test_whether_one_is_on_is_part_of_the_version(tmp_path: Path) -> None:
    text = VEC.replace("provider: acme}", "provider: spare}").replace(
        "labs:", "  spare:\n    base_url: https://s\n    dialects: {openai-chat: /chat/completions}\n"
        "    accounts: {main: '${SPARE}'}\nlabs:", 1,
    )  # fmt: skip
    off = world.built(tmp_path, text).catalogue
    on = world.built(tmp_path, text, {**world.ON, "SPARE": "k"}).catalogue
    assert off.version != on.version
    assert [target.provider.enabled for target in off.labs["acme"].embeddings] == [True, False]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("provider: acme", "provider: acmee",
         "11: error: labs.acme.embeddings[1].provider: no provider 'acmee'. Did you mean 'acme'?"),
        ("{model: vec, provider: acme}", "{}",
         "11: error: labs.acme.embeddings[1]: the key 'model' is missing."),
        ("/chat/completions", "/answers",
         ("11: error: labs.acme.embeddings[0]: the gateway does not know the embeddings URL of acme. "
          "Give the provider `embeddings`, a path or a whole URL.")),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert f"c.yaml:{told}" in world.mistakes(tmp_path, VEC.replace(old, new, 1))


def test_a_lab_without_a_provider_of_its_name_must_name_one(tmp_path: Path) -> None:
    text = VEC.replace("models:", "  other:\n    embeddings: [{model: vec}]\nmodels:", 1)
    (told,) = world.mistakes(tmp_path, text)
    assert told.endswith(
        "labs.other.embeddings[0]: names no `provider`, and none is called 'other'."
    )


@pytest.mark.parametrize("name", ["vec", "acme/vec"])
def test_an_alias_may_lead_to_one(tmp_path: Path, name: str) -> None:
    text = f"{VEC}aliases: {{ada: {name}}}\n"
    assert world.mistakes(tmp_path, text) == []
    assert [it for it in world.unreached(tmp_path, text) if "aliases" in it] == []


def test_an_alias_to_one_that_is_off_is_told(tmp_path: Path) -> None:
    text = VEC.replace("provider: acme}", "provider: acme}, {model: far, provider: spare}").replace(
        "labs:", "  spare:\n    base_url: https://s\n    dialects: {openai-chat: /chat/completions}\n"
        "    accounts: {main: '${SPARE}'}\nlabs:", 1,
    )  # fmt: skip
    found = world.unreached(tmp_path, f"{text}aliases: {{ada: far}}\n")
    assert any("leads to far, which cannot be served" in it for it in found)
