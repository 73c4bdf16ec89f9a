"""The environment: `${NAME}` in strings, `.env`, and TIERGATE_* over settings."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.settings import environment
from gateway.settings.errors import ConfigError, UnsetVariable
from gateway.settings.schema.root import Config
from gateway.settings.yaml import Value
from tests.mounted_secrets import mount_secrets

TOP_LEVEL_KEYS = frozenset(Config.model_fields)
ENVIRON = {"A": "1", "B": "two", "EMPTY": "", "DOLLAR": "${A}", "_x9": "u"}

EXPANDED: list[tuple[str, str]] = [
    ("", ""),
    ("plain", "plain"),
    ("$A", "$A"),
    ("{A}", "{A}"),
    ("${A}", "1"),
    ("${A}${B}", "1two"),
    ("<${A}-${B}>", "<1-two>"),
    ("${_x9}", "u"),
    ("${A:-other}", "1"),
    ("${NONE:-other}", "other"),
    ("${NONE:-}", ""),
    ("${EMPTY:-other}", "other"),
    ("${NONE:-${B}}", "two"),
    ("${NONE:-${NO:-${A}}}", "1"),
    ("${NONE:-${NO:-}}", ""),
    ("${NONE:-http://${B}:8000/v1}/x", "http://two:8000/v1/x"),
    ("${NONE:-a:-b}", "a:-b"),
    ("${NONE:-{x}}", "{x}"),
    # what a variable holds is not looked at again
    ("${DOLLAR}", "${A}"),
]


@pytest.mark.parametrize(("text", "expanded"), EXPANDED)
def test_variables_in_a_text_are_expanded(text: str, expanded: str) -> None:
    assert environment.expand_variables(text, ENVIRON) == expanded


UNSET: list[tuple[str, str, bool]] = [
    ("${NONE}", "the environment variable NONE is not set", True),
    ("${EMPTY}", "the environment variable EMPTY is not set", True),
    ("${NONE:-${NO}}", "the environment variable NO is not set", True),
    ("${A", "'${A' lacks a closing brace", False),
    ("${NONE:-${A}", "'${NONE:-${A}' lacks a closing brace", False),
    ("${}", "${} is neither ${NAME}, ${NAME:-default} nor ${file:/path}", False),
    ("${9A}", "${9A} is neither ${NAME}, ${NAME:-default} nor ${file:/path}", False),
    ("${A-b}", "${A-b} is neither ${NAME}, ${NAME:-default} nor ${file:/path}", False),
    ("${env:A}", "${env:A} is neither ${NAME}, ${NAME:-default} nor ${file:/path}", False),
    ("${file:/no/such/file}", "the file /no/such/file cannot be read", False),
]


@pytest.mark.parametrize(("text", "message", "variable"), UNSET)
def test_a_missing_or_malformed_variable_is_reported(
    text: str, message: str, variable: bool
) -> None:
    with pytest.raises(UnsetVariable) as caught:
        environment.expand_variables(text, ENVIRON)
    assert (str(caught.value), caught.value.variable) == (message, variable)


def test_a_file_reference_gives_its_text_without_surrounding_space(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("  sk-1\n")
    assert environment.expand_variables(f"<${{file:{tmp_path}/key}}>", {}) == "<sk-1>"
    (tmp_path / "key").write_bytes(b"\xff")
    with pytest.raises(UnsetVariable, match="cannot be read"):
        environment.expand_variables(f"${{file:{tmp_path}/key}}", {})
    with pytest.raises(UnsetVariable, match="cannot be read"):
        environment.expand_variables(f"${{file:{tmp_path}}}", {})


@given(st.text(), st.dictionaries(st.sampled_from(["A", "B", "C"]), st.text()))
def test_any_string_is_expanded_or_refused(text: str, given_: dict[str, str]) -> None:
    try:
        expanded = environment.expand_variables(text, given_)
    except UnsetVariable:
        return
    assert expanded == text or "${" in text


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("${A}", ["A"]),
        ("${A:-${B:-c}}", ["A", "B"]),
        ("${A}${B}", ["A", "B"]),
        ("${file:/x}", ["file"]),
        ("x", []),
    ],
)
def test_the_variables_of_a_text_are_listed_in_order(text: str, names: list[str]) -> None:
    assert environment.list_variables(text) == names


def test_the_environment_overrides_a_dotenv_file(tmp_path: Path) -> None:
    text = "A=file\nB='quoted # not a comment'\nexport C=c # comment\nEMPTY=\nLONE\nD=\"two\\nlines\"\n"
    (tmp_path / ".env").write_text(f"\ufeff{text}", "utf-8")
    merged = environment.read_environment(tmp_path, {"A": "environment", "X": ""})
    assert merged == {
        "A": "environment",
        "B": "quoted # not a comment",
        "C": "c",
        "D": "two\nlines",
        "X": "",
    }
    assert environment.read_environment(tmp_path / "nowhere", {"A": "a"}) == {"A": "a"}


def test_a_dotenv_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes("A=é".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"\.env: error: is not UTF-8"):
        environment.read_environment(tmp_path, {})


OVERRIDES: list[tuple[dict[str, str], dict[tuple[str, ...], Value]]] = [
    ({"TIERGATE_SERVER__PORT": "9000"}, {("server", "port"): 9000}),
    ({"TIERGATE_SERVER__HOST": "::1"}, {("server", "host"): "::1"}),
    ({"TIERGATE_CACHE__TTL": "5m"}, {("cache", "ttl"): "5m"}),
    ({"TIERGATE_CACHE__SAMPLED": "true"}, {("cache", "sampled"): True}),
    ({"TIERGATE_DEFAULT__LAB": "no"}, {("default", "lab"): "no"}),
    ({"TIERGATE_ALIASES": "{gpt-4o: auto}"}, {("aliases",): {"gpt-4o": "auto"}}),
    ({"TIERGATE_GUARDS": "[{name: n, max_tier: fast}]"},
     {("guards",): [{"name": "n", "max_tier": "fast"}]}),
    ({"TIERGATE_PROVIDERS__ACME__ACCOUNTS__MAIN": "sk-1"},
     {("providers", "acme", "accounts", "main"): "sk-1"}),
    # the shorter path first, so that the longer one changes what it gave
    ({"TIERGATE_SERVER__PORT": "1", "TIERGATE_SERVER": "{host: a}"},
     {("server",): {"host": "a"}, ("server", "port"): 1}),
    # reserved names, single words of other programs, and empty variables are no settings
    ({"TIERGATE_CONFIG": "c", "TIERGATE_DATA": "d", "TIERGATE_SECRET": "s", "TIERGATE_KEYS": "a=b",
      "TIERGATE_ADMIN_KEY": "k", "TIERGATE_VERSION": "0.1.0", "TIERGATE_NO_LOCAL": "1",
      "TIERGATE_CORPUS": "x", "TIERGATE_SERVER__PORT": "", "OTHER_SERVER__PORT": "1"}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("given_", "expected"), OVERRIDES)
def test_settings_come_from_the_environment(
    given_: dict[str, str], expected: dict[tuple[str, ...], Value]
) -> None:
    settings, mistakes = environment.read_overrides(given_, TOP_LEVEL_KEYS)
    assert (settings, mistakes) == (expected, [])
    assert list(settings) == list(expected)


def test_every_variable_that_is_no_setting_is_an_error_with_a_hint() -> None:
    given_ = {
        "TIERGATE_SERVR__PORT": "1",
        "TIERGATE_CACHE_TTL": "5m",
        "TIERGATE_DEFAULT_LAB": "x",
        "TIERGATE_INCLUDE": "[a]",
        "TIERGATE_ALIASES": "{a",
    }
    settings, mistakes = environment.read_overrides(given_, TOP_LEVEL_KEYS)
    assert settings == {}
    assert [str(item) for item in mistakes] == [
        "TIERGATE_SERVR__PORT: error: no setting. Did you mean 'server'?",
        (
            "TIERGATE_CACHE_TTL: error: no setting. "
            "Two underscores stand between levels: TIERGATE_CACHE__TTL."
        ),
        (
            "TIERGATE_DEFAULT_LAB: error: no setting. "
            "Two underscores stand between levels: TIERGATE_DEFAULT__LAB."
        ),
        "TIERGATE_INCLUDE: error: no setting. Write `include` in the file.",
        "TIERGATE_ALIASES: error: not valid YAML: expected ',' or '}'",
    ]


def test_each_file_of_the_secrets_folder_is_a_variable(tmp_path: Path) -> None:
    """The environment wins over the folder, and the folder over a `.env`."""
    folder = tmp_path / "secrets"
    mount_secrets(folder, 1, OPENAI_API_KEY="sk-new\n", REDIS_URL="redis://mounted", EMPTY="\n")
    (folder / "not-a-variable.txt").write_text("x")
    (tmp_path / ".env").write_text("OPENAI_API_KEY=sk-dotenv\nEMPTY=dotenv\nOTHER=dotenv\n")
    environ = {"TIERGATE_SECRETS_FOLDER": str(folder), "REDIS_URL": "redis://environment"}
    assert environment.read_environment(tmp_path, environ) == {
        "OPENAI_API_KEY": "sk-new", "REDIS_URL": "redis://environment", "EMPTY": "dotenv",
        "OTHER": "dotenv", "TIERGATE_SECRETS_FOLDER": str(folder),
    }  # fmt: skip
    mount_secrets(folder, 2, OPENAI_API_KEY="sk-newer")
    assert environment.read_environment(tmp_path, environ)["OPENAI_API_KEY"] == "sk-newer"


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_secrets_folder_that_cannot_be_read_is_a_mistake(
    tmp_path: Path, content: bytes | None
) -> None:
    """The mistake names the folder, and never what a file has."""
    folder = tmp_path / "secrets"
    if content is not None:
        folder.mkdir()
        (folder / "KEY").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        environment.read_environment(tmp_path, {"TIERGATE_SECRETS_FOLDER": str(folder)})
    (mistake,) = caught.value.mistakes
    assert mistake.file == "TIERGATE_SECRETS_FOLDER"
    assert str(folder) in mistake.message
    assert mistake.hint
