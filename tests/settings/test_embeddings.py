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


def test_an_embedding_target_has_its_own_url_and_facts(tmp_path: Path) -> None:
    built = world.built(tmp_path, VEC)
    targets = built.catalogue.labs["acme"].embeddings
    assert [target.name for target in targets] == ["acme/vec"] * 2
    assert targets[0].provider.urls == {"openai-chat": "https://acme.example/v1/embeddings"}
    assert built.providers["acme"].urls["openai-chat"].endswith("/chat/completions")
    assert targets[0].facts.refused_members == {"dimensions"}
    assert targets[0].facts.prompt_window is None, "each input must fit, not all of them together"
    assert targets[0].price is not None
    assert "vec" not in built.catalogue.models


@pytest.mark.parametrize(
    ("dialects", "urls"),
    [
        ("{gemini: /v1beta}", {"gemini": "https://acme.example/v1/v1beta"}),
        ("{openai-chat: '/chat/completions?v=1'}",
         {"openai-chat": "https://acme.example/v1/embeddings?v=1"}),
        ("{anthropic-messages: /m}\n    embeddings: /e", {"openai-chat": "https://acme.example/v1/e"}),
        ("{openai-responses: /r}\n    embeddings: 'https://e.example/e'",
         {"openai-chat": "https://e.example/e"}),
    ],
)  # fmt: skip
def test_the_embeddings_endpoint_follows_from_the_dialects(
    tmp_path: Path, dialects: str, urls: dict[str, str]
) -> None:
    text = VEC.replace("{openai-chat: /chat/completions}", dialects)
    assert first(tmp_path, text).provider.urls == urls


def test_the_version_depends_on_which_embedding_targets_are_on(tmp_path: Path) -> None:
    text = VEC.replace("provider: acme}", "provider: spare}").replace(
        "labs:", "  spare:\n    base_url: https://s\n    dialects: {openai-chat: /chat/completions}\n"
        "    accounts: {main: '${SPARE}'}\nlabs:", 1,
    )  # fmt: skip
    off = world.built(tmp_path, text).catalogue
    on = world.built(tmp_path, text, {**world.ON, "SPARE": "k"}).catalogue
    assert off.version != on.version
    assert [target.provider.enabled for target in off.labs["acme"].embeddings] == [True, False]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
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
def test_a_mistake_in_embeddings_is_reported_with_its_line(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    assert f"c.yaml:{expected}" in world.mistakes(tmp_path, VEC.replace(old, new, 1))


def test_a_lab_without_a_provider_of_its_name_must_name_one_for_embeddings(tmp_path: Path) -> None:
    text = VEC.replace("models:", "  other:\n    embeddings: [{model: vec}]\nmodels:", 1)
    (mistake,) = world.mistakes(tmp_path, text)
    assert mistake.endswith(
        "labs.other.embeddings[0]: names no `provider`, and none is called 'other'."
    )


@pytest.mark.parametrize("name", ["vec", "acme/vec"])
def test_an_alias_can_lead_to_an_embedding_model(tmp_path: Path, name: str) -> None:
    text = f"{VEC}aliases: {{ada: {name}}}\n"
    assert world.mistakes(tmp_path, text) == []
    assert [line for line in world.unreached(tmp_path, text) if "aliases" in line] == []


def test_an_alias_to_an_embedding_model_that_is_off_is_a_warning(tmp_path: Path) -> None:
    text = VEC.replace("provider: acme}", "provider: acme}, {model: far, provider: spare}").replace(
        "labs:", "  spare:\n    base_url: https://s\n    dialects: {openai-chat: /chat/completions}\n"
        "    accounts: {main: '${SPARE}'}\nlabs:", 1,
    )  # fmt: skip
    lines = world.unreached(tmp_path, f"{text}aliases: {{ada: far}}\n")
    assert any("leads to far, which cannot be served" in line for line in lines)
