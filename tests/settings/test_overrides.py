"""Environment variables over a file: the part that each changes, and what an error blames."""

from pathlib import Path

import pytest

from gateway.settings.errors import ConfigError
from gateway.settings.loader import load
from gateway.settings.schema.root import Config
from tests.settings import world

TEXT = """\
version: 1
providers:
  azure-openai:
    base_url: https://a.example/v1
    dialects: {openai-chat: /chat/completions}
    accounts: {main: key}
  acme.eu:
    base_url: https://b.example/v1
    dialects: {openai-chat: /chat/completions}
    auth: none
labs:
  my-lab:
    fast: [{provider: azure-openai, model: gpt-6.1-sol}, {provider: acme.eu, model: MAI/One}]
models:
  gpt-6.1-sol: {context: 1}
  MAI/One: {context: 1}
aliases: {gpt-4o: auto}
"""


def config(folder: Path, text: str = TEXT, **environ: str) -> Config:
    return load(world.write(folder, text), environ).config


def load_mistakes(folder: Path, text: str = TEXT, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        load(world.write(folder, text), environ)
    return [str(item).replace(f"{folder}/", "") for item in error.value.mistakes]


def test_an_underscore_in_a_variable_stands_for_any_other_character(tmp_path: Path) -> None:
    loaded = config(
        tmp_path,
        TIERGATE_PROVIDERS__AZURE_OPENAI__BASE_URL="https://c.example",
        TIERGATE_PROVIDERS__ACME_EU__REGION="eu",
        TIERGATE_LABS__MY_LAB__ABOUT="mine",
        TIERGATE_MODELS__GPT_6_1_SOL__CONTEXT="7",
        TIERGATE_MODELS__MAI_ONE__CONTEXT="8",
        TIERGATE_ALIASES__GPT_4O="fast",
    )
    assert list(loaded.providers) == ["azure-openai", "acme.eu"]
    assert loaded.providers["azure-openai"].base_url == "https://c.example"
    assert loaded.providers["azure-openai"].accounts == {"main": "key"}
    assert loaded.providers["acme.eu"].region == "eu"
    assert (list(loaded.labs), loaded.labs["my-lab"].about) == (["my-lab"], "mine")
    assert {name: part.context for name, part in loaded.models.items()} == {
        "gpt-6.1-sol": 7,
        "MAI/One": 8,
    }
    assert loaded.aliases == {"gpt-4o": "fast"}


def test_a_variable_can_contain_a_name_unchanged(tmp_path: Path) -> None:
    """A shell cannot set such a name, but the environment of a container can have it."""
    name = "TIERGATE_PROVIDERS__azure-openai__BASE_URL"
    loaded = config(tmp_path, **{name: "https://c.example"})
    assert loaded.providers["azure-openai"].base_url == "https://c.example"


def test_a_variable_that_fits_two_names_is_refused(tmp_path: Path) -> None:
    text = TEXT.replace("aliases: {gpt-4o: auto}", "aliases: {gpt-4o: auto, gpt_4o: fast}")
    assert load_mistakes(tmp_path, text, TIERGATE_ALIASES__GPT_4O="smart") == [
        (
            "TIERGATE_ALIASES__GPT_4O: error: could be 'gpt-4o' or 'gpt_4o'. "
            "Give all of TIERGATE_ALIASES, or rename one in the file."
        )
    ]


def test_a_variable_below_two_possible_names_is_refused(tmp_path: Path) -> None:
    text = TEXT.replace("  acme.eu:", "  azure_openai:").replace("acme.eu", "azure_openai")
    (mistake,) = load_mistakes(
        tmp_path, text, TIERGATE_PROVIDERS__AZURE_OPENAI__BASE_URL="https://x"
    )
    assert mistake == (
        "TIERGATE_PROVIDERS__AZURE_OPENAI__BASE_URL: error: could be 'azure-openai' or "
        "'azure_openai'. Give all of TIERGATE_PROVIDERS, or rename one in the file."
    )


def test_a_new_name_comes_from_the_variable_in_lower_case(tmp_path: Path) -> None:
    loaded = config(
        tmp_path,
        TIERGATE_PROVIDERS__MY_HOST__BASE_URL="https://c.example",
        TIERGATE_PROVIDERS__MY_HOST__DIALECTS="{openai-chat: /v1}",
        TIERGATE_PROVIDERS__MY_HOST__AUTH="none",
    )
    assert loaded.providers["my_host"].dialects == {"openai-chat": "/v1"}


MISTAKES: list[tuple[dict[str, str], str]] = [
    # a part that only the variable has
    ({"TIERGATE_PROVIDERS__AZURE_OPNAI__BASE_URL": "https://x"},
     ("TIERGATE_PROVIDERS__AZURE_OPNAI__BASE_URL: error: providers.azure_opnai: "
     "has neither `dialects` nor `endpoints`. Did you mean 'azure-openai'?")),
    ({"TIERGATE_MODELS__NEW__CONTXT": "1"},
     "TIERGATE_MODELS__NEW__CONTXT: error: models.new.contxt: no such key. Did you mean 'context'?"),
    # a part that stands in the file, too
    ({"TIERGATE_PROVIDERS__AZURE_OPENAI__AUTH": "bare"},
     ("TIERGATE_PROVIDERS__AZURE_OPENAI__AUTH: error: providers.azure-openai.auth: "
     "'bare' is not allowed. Did you mean 'bearer'?")),
    ({"TIERGATE_MODELS": "{gpt-6.1-sol: {context: many}}"},
     "TIERGATE_MODELS: error: models.gpt-6.1-sol.context: must be a whole number."),
    ({"TIERGATE_PROVIDERS__AZURE_OPENAI": "{dialects: {openai-chat: /}, auth: bare}"},
     ("TIERGATE_PROVIDERS__AZURE_OPENAI: error: providers.azure-openai.auth: "
     "'bare' is not allowed. Did you mean 'bearer'?")),
    # a scalar in the place of a part
    ({"TIERGATE_MODELS__MAI_ONE__CONTEXT__X": "1"},
     "TIERGATE_MODELS__MAI_ONE__CONTEXT__X: error: models.MAI/One.context: must be a whole number."),
    ({"TIERGATE_LABS__MY_LAB__FAST__0": "x"},
     "TIERGATE_LABS__MY_LAB__FAST__0: error: stands inside a list. Give the whole list."),
]  # fmt: skip


@pytest.mark.parametrize(("environ", "expected"), MISTAKES)
def test_an_error_names_the_variable_that_causes_it(
    tmp_path: Path, environ: dict[str, str], expected: str
) -> None:
    assert load_mistakes(tmp_path, **environ) == [expected]


def test_errors_beyond_the_schema_name_the_variable_too(tmp_path: Path) -> None:
    environ = {"TIERGATE_PROVIDERS__AZURE_OPENAI__BASE_URL": "ftp://x"}
    (mistake,) = world.mistakes(tmp_path, TEXT, environ)
    assert mistake == (
        "TIERGATE_PROVIDERS__AZURE_OPENAI__BASE_URL: error: providers.azure-openai.base_url: "
        "must start with http:// or https://."
    )


def test_an_error_beside_an_override_still_names_the_file(tmp_path: Path) -> None:
    text = TEXT.replace("auth: none", "auth: bare")
    environ = {"TIERGATE_PROVIDERS__ACME_EU__BASE_URL": "https://x"}
    assert load_mistakes(tmp_path, text, **environ) == [
        "c.yaml:10: error: providers.acme.eu.auth: 'bare' is not allowed. Did you mean 'bearer'?"
    ]
