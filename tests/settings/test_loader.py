"""A configuration from several files and the environment: what wins, what clashes, its hash."""

from pathlib import Path

import pytest

from gateway.runtime.build import build_config
from gateway.settings.environment import find_config_file
from gateway.settings.errors import ConfigError
from gateway.settings.loader import ConfigSource, load
from tests.config import shipped
from tests.settings import world
from tests.settings.world import write

MAIN = "version: 1\ninclude: [labs/*.yaml, models.yaml, rules.yaml]\n"
LAB = """\
providers:
  {name}:
    base_url: https://{name}.example
    dialects: {{openai-chat: /chat}}
    auth: none
labs:
  {name}: {{fast: [{{model: {name}-small}}]}}
models:
  {name}-small: {{context: 1000, vision: true, price: {{input: 1, output: 2}}}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the files of a configuration with two labs, and enter their folder."""
    write(tmp_path, MAIN, "gateway.yaml")
    write(tmp_path, LAB.format(name="b"), "labs/b.yaml")
    write(tmp_path, LAB.format(name="a"), "labs/a.yaml")
    write(tmp_path, "models:\n  a-small: {price: {output: 5}}\n", "models.yaml")
    write(tmp_path, "guards: [{name: g, tag: t}]\nchoices:\n", "rules.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load_main(folder: Path, **environ: str) -> ConfigSource:
    return load(folder / "gateway.yaml", environ)


def load_mistakes(folder: Path, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_main(folder, **environ)
    assert str(caught.value) == "\n".join(str(item) for item in caught.value.mistakes)
    return [str(item) for item in caught.value.mistakes]


def test_included_files_are_ordered_by_the_list_and_then_by_name(folder: Path) -> None:
    config = load_main(folder).config
    assert list(config.labs) == ["a", "b"]
    assert [guard.name for guard in config.guards] == ["g"]
    assert config.choices == []


def test_an_overlay_replaces_a_fact_and_leaves_the_rest(folder: Path) -> None:
    model = load_main(folder).config.models["a-small"]
    assert (model.context, model.vision) == (1000, True)
    assert model.price is not None
    assert [str(model.price.input), str(model.price.output)] == ["1", "5"]


def test_a_mistake_in_an_overlay_has_the_line_of_the_overlay(folder: Path) -> None:
    write(folder, "models:\n  a-small:\n    price: {output: dear}\n", "models.yaml")
    assert load_mistakes(folder) == [
        "models.yaml:3: error: models.a-small.price.output: must be a number."
    ]


def test_the_first_file_overrides_the_included_files(folder: Path) -> None:
    write(folder, "server: {host: a, port: 1}\nkeys: k\n", "rules.yaml")
    write(folder, MAIN + "server: {port: 2}\nkeys: open\n", "gateway.yaml")
    config = load_main(folder).config
    assert (config.server.host, config.server.port, config.keys.store) == ("a", 2, "open")


def test_rules_of_several_files_are_one_list_and_keep_their_lines(folder: Path) -> None:
    write(folder, "guards:\n- {name: one, tag: t}\n- {name: two, tag: t}\n", "rules.yaml")
    write(folder, MAIN + "guards:\n- {name: three, tga: t}\n", "gateway.yaml")
    assert load_mistakes(folder) == [
        "gateway.yaml:4: error: guards[2].tga (rule 'three'): no such key. Did you mean 'tag'?"
    ]
    write(folder, MAIN + "guards:\n- {name: three, tag: t}\n", "gateway.yaml")
    assert [guard.name for guard in load_main(folder).config.guards] == ["one", "two", "three"]


def test_a_part_that_two_files_define_is_an_error_with_both_places(folder: Path) -> None:
    write(folder, LAB.format(name="a"), "labs/c.yaml")
    assert load_mistakes(folder) == [
        "labs/c.yaml:2: error: providers.a: is also given at labs/a.yaml:2.",
        "labs/c.yaml:7: error: labs.a: is also given at labs/a.yaml:7.",
    ]


def test_missing_and_broken_files_are_reported_together(folder: Path) -> None:
    write(
        folder,
        "version: 1\ninclude:\n- labs/*.yaml\n- nowhere.yaml\n- labs\n- bad/*\n",
        "gateway.yaml",
    )
    write(folder, "a: [1", "bad/a.yaml")
    write(folder, "- 1", "bad/b.yaml")
    (folder / "bad/c.yaml").write_bytes(b"a: \xff")
    write(folder, "include: [x]", "bad/d.yaml")
    assert load_mistakes(folder) == [
        "gateway.yaml:4: error: include: no file matches 'nowhere.yaml'.",
        "labs: error: cannot be read: is a directory.",
        "bad/a.yaml:1: error: not valid YAML: expected ',' or ']'",
        "bad/b.yaml:1: error: must be a mapping.",
        "bad/c.yaml: error: is not UTF-8.",
        "bad/d.yaml:1: error: include: only the first file may include others.",
    ]


def test_a_file_that_is_named_twice_or_includes_itself_is_read_once(folder: Path) -> None:
    include = "include: [labs/*.yaml, labs/a.yaml, '*.yaml', rules.yaml]\n"
    write(folder, f"version: 1\n{include}", "gateway.yaml")
    config = load_main(folder).config
    assert list(config.labs) == ["a", "b"]
    assert len(config.guards) == 1


def test_an_include_can_be_an_absolute_path(folder: Path) -> None:
    write(folder, f"version: 1\ninclude: ['{folder}/labs/*.yaml']\n", "gateway.yaml")
    assert list(load_main(folder).config.labs) == ["a", "b"]


def test_a_file_outside_the_current_folder_is_named_with_its_full_path(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder / "labs")
    write(folder, MAIN + "x: 1", "gateway.yaml")
    assert load_mistakes(folder) == [f"{folder}/gateway.yaml:3: error: x: no such key."]
    assert load_mistakes(folder / "labs" / "..") != []


def test_a_missing_configuration_file_is_reported(folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(folder / "none.yaml", {})
    assert str(caught.value) == "none.yaml: error: cannot be read: no such file or directory."


def test_an_empty_file_lacks_its_version(folder: Path) -> None:
    write(folder, "", "gateway.yaml")
    assert load_mistakes(folder) == ["gateway.yaml:1: error: the key 'version' is missing."]


def test_the_named_file_comes_before_the_variable_and_the_default_file(
    folder: Path,
) -> None:
    assert find_config_file("x.yaml", {"TIERGATE_CONFIG": "y.yaml"}) == Path("x.yaml")
    assert find_config_file(None, {"TIERGATE_CONFIG": "y.yaml"}) == Path("y.yaml")
    assert find_config_file(None, {}) == shipped.MAIN
    write(folder, MAIN, "config/gateway.yaml")
    assert find_config_file(None, {}) == Path("config/gateway.yaml")


# The environment over the files.


def test_environment_variables_override_settings_and_keep_their_types(folder: Path) -> None:
    config = load_main(
        folder,
        TIERGATE_SERVER__PORT="9000",
        TIERGATE_SERVER__OPEN="true",
        TIERGATE_CACHE__TTL="5m",
        TIERGATE_DEFAULT="{lab: b, tier: fast}",
        TIERGATE_DEFAULT__TIER="reasoning",
        TIERGATE_ALIASES="{gpt-4o: auto}",
        TIERGATE_MODELS__X__CONTEXT="5",
        TIERGATE_LABS__B__FAST="[{provider: a, model: m}]",
    ).config
    assert (config.server.port, config.server.open, config.cache.ttl) == (9000, True, 300.0)
    assert (config.default.lab, config.default.tier) == ("b", "reasoning")
    assert config.aliases == {"gpt-4o": "auto"}
    assert config.models["x"].context == 5
    assert [target.model for target in config.labs["b"].fast] == ["m"]


def test_a_mistake_in_the_environment_names_the_variable(folder: Path) -> None:
    assert load_mistakes(
        folder,
        TIERGATE_SERVER__PROT="1",
        TIERGATE_SERVER__PORT="http",
        TIERGATE_CACHE__TTL="${NONE}",
    ) == [
        (
            "TIERGATE_CACHE__TTL: error: cache.ttl: the environment variable NONE is not set. "
            "Write ${NAME:-default} to give a default."
        ),
        "TIERGATE_SERVER__PORT: error: server.port: must be a whole number.",
        "TIERGATE_SERVER__PROT: error: server.prot: no such key. Did you mean 'port'?",
    ]


def test_mistakes_in_files_and_environment_are_reported_together(folder: Path) -> None:
    write(folder, "guards: [", "rules.yaml")
    assert load_mistakes(
        folder, TIERGATE_SERVR__PORT="1", TIERGATE_LABS__A__FAST__0__MODEL="x"
    ) == [
        "rules.yaml:1: error: not valid YAML: a value is missing here",
        "TIERGATE_SERVR__PORT: error: no setting. Did you mean 'server'?",
        "TIERGATE_LABS__A__FAST__0__MODEL: error: stands inside a list. Give the whole list.",
    ]


# The version.


def version(folder: Path, text: str, environ: dict[str, str] | None = None) -> str:
    return world.built(folder, text, world.ON if environ is None else environ).catalogue.version


def test_a_version_is_the_same_for_the_same_meaning(tmp_path: Path) -> None:
    first = version(tmp_path, world.BASE)
    assert len(first) == 12
    assert version(tmp_path, "# a comment\n\n" + world.BASE) == first
    assert version(tmp_path, world.BASE.replace("version: 1", "'version':   1 # one")) == first
    assert version(tmp_path / "elsewhere", world.BASE) == first
    assert version(tmp_path, world.BASE, {**world.ON, "OTHER": "x"}) == first
    assert version(tmp_path, world.BASE, {"ACME_API_KEY": "another secret"}) == first


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("model: large", "model: larger"),
        ("output: 4", "output: 5"),
        ("effort: none}", "effort: low}"),
        ("https://acme.example", "https://acme2.example"),
        ("version: 1", "version: 1\ndefault: {tier: fast}"),
        ("version: 1", "version: 1\nchoices: [{name: a, tier: fast}]"),
        ("${ACME_API_KEY}", "${ACME_API_KEY:-${OTHER}}"),
    ],
)
def test_a_version_changes_with_each_setting(tmp_path: Path, old: str, new: str) -> None:
    assert version(tmp_path, world.BASE.replace(old, new)) != version(tmp_path, world.BASE)


def test_a_version_changes_with_the_effect_of_the_environment(tmp_path: Path) -> None:
    first = version(tmp_path, world.BASE)
    assert version(tmp_path, world.BASE, {}) != first
    assert version(tmp_path, world.BASE, {**world.ON, "TIERGATE_DEFAULT__TIER": "fast"}) != first
    text = world.BASE.replace("model: large", "model: '${M:-large}'")
    assert version(tmp_path, text, {**world.ON, "M": "a"}) != version(tmp_path, text)


# Secrets.

CANARY = "sk-canary-8f2d"


def test_a_secret_is_in_no_repr_and_no_version(tmp_path: Path) -> None:
    text = world.BASE + "default: {lab: acme}\n"
    text = text.replace(
        "    accounts:", '    headers: {x-extra: "${EXTRA}"}\n    proxy: "${PROXY}"\n    accounts:'
    )
    environ = {"ACME_API_KEY": CANARY, "EXTRA": f"{CANARY}-2", "PROXY": f"http://u:{CANARY}@p"}
    source = world.loaded(tmp_path, text, environ)
    config = build_config(source, world.NOW)
    assert CANARY in [item.secret for item in config.built_catalogue.providers["acme"].accounts]
    texts = [
        repr(source),
        repr(source.config),
        str(source.config),
        repr(config.built_catalogue.providers["acme"].accounts),
        repr(config.source),
        repr(source.raw),
    ]
    assert [line for line in texts if CANARY in line] == []
    other_environ = {name: value.replace(CANARY, "sk-other") for name, value in environ.items()}
    assert world.loaded(tmp_path, text, other_environ).version == source.version
    assert build_config(
        world.loaded(tmp_path, text, other_environ), world.NOW
    ).built_catalogue.catalogue.version == (config.built_catalogue.catalogue.version)


@pytest.mark.parametrize("secret", [CANARY, "sk-other", ""])
def test_a_secret_in_the_file_or_an_override_is_in_no_version(tmp_path: Path, secret: str) -> None:
    written = world.BASE.replace("${ACME_API_KEY}", secret)
    environ = {"TIERGATE_PROVIDERS__ACME__ACCOUNTS__MAIN": secret} if secret else {}
    first = world.BASE.replace("${ACME_API_KEY}", "sk-first")
    is_same_version = bool(secret)
    assert (version(tmp_path, written) == version(tmp_path, first)) == is_same_version
    if secret:
        assert version(tmp_path, world.BASE, environ) == version(tmp_path, first)


MISPLACED = [
    ("version: 1", 'version: 1\ndefault: {lab: "${ACME_API_KEY}"}'),
    ("version: 1", 'version: 1\nrouting: {on_loss: "${ACME_API_KEY}"}'),
    ("version: 1", 'version: 1\ncache: {ttl: "${ACME_API_KEY}"}'),
    ("version: 1", 'version: 1\nserver: {port: "${ACME_API_KEY}"}'),
    ("version: 1", 'version: 1\nledger: {time_zone: "${ACME_API_KEY}"}'),
    ("version: 1", 'version: 1\naliases: {x: "${ACME_API_KEY}"}'),
    ("version: 1", 'version: 1\nguards: [{name: g, deny: "${ACME_API_KEY}"}]'),
    ("version: 1", 'version: 1\nchoices: [{name: c, lab: "${ACME_API_KEY}"}]'),
    ("version: 1", 'version: 1\nchoices: [{name: c, model: "${ACME_API_KEY}"}]'),
    (
        "version: 1",
        'version: 1\nchoices: [{name: c, tier: fast, when: {matches: "(${ACME_API_KEY}"}}]',
    ),
    ("accounts: {main:", "auth: '${ACME_API_KEY}'\n    accounts: {main:"),
    ("accounts: {main:", "timeouts: {idle: '${ACME_API_KEY}'}\n    accounts: {main:"),
    ("https://acme.example/v1", "'${ACME_API_KEY}'"),
    ("effort: none}", "effort: '${ACME_API_KEY}'}"),
    ("style: reasoning_effort", "style: '${ACME_API_KEY}'"),
    ("model: large", "model: large, provider: '${ACME_API_KEY}'"),
    ("large: {", "large: {like: '${ACME_API_KEY}', "),
    ("large: {", "large: {retires: '${ACME_API_KEY}', "),
    ("input: 3", "input: '${ACME_API_KEY}'"),
]


@pytest.mark.parametrize(("old", "new"), MISPLACED)
def test_a_mistake_quotes_the_variable_and_not_its_secret(
    tmp_path: Path, old: str, new: str
) -> None:
    mistakes = world.mistakes(tmp_path, world.BASE.replace(old, new), {"ACME_API_KEY": CANARY})
    assert len(mistakes) == 1
    assert CANARY not in mistakes[0]
