"""Notes on changed defaults: each tells the operator how to keep the old behaviour."""

from pathlib import Path

import pytest

from gateway.settings import changed_defaults
from gateway.settings.environment import find_shipped_config
from gateway.settings.loader import load
from tests.settings import world

BUDGET = "budgets: [{name: all, usd: 5, every: day}]\n"
LIMIT = "limits: [{name: rate, requests: 9/m}]\n"


def notes(folder: Path, text: str = "") -> list[str]:
    """Return the notes on a configuration."""
    return [*map(str, changed_defaults.find_notes(world.loaded(folder, world.BASE + text)))]


def paths(folder: Path, text: str = "", *, tenants: bool = False) -> list[str]:
    """Return the keys that have a note."""
    source = world.loaded(folder, world.BASE + text)
    found_notes = changed_defaults.find_notes(source, several_tenants=tenants)
    return [note.path for note in found_notes]


def test_each_changed_default_that_affects_a_configuration_has_a_note(tmp_path: Path) -> None:
    assert paths(tmp_path) == [
        "cache.default",
        "routing.conversation",
        "retry.preferred_wait",
        "retry.preferred_again",
        "passthrough.foreign",
        "server.max_values",
    ]


def test_a_note_shows_the_old_setting(tmp_path: Path) -> None:
    assert notes(tmp_path, "cache: {ttl: 5m}\n")[0] == (
        f"{tmp_path}/c.yaml:16: cache.default is now `deterministic`: embeddings, and chat at "
        "temperature 0 without tools. As before: `cache: {default: on}`."
    )


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("cache: {default: on}\n", "cache.default"),
        ("cache: {default: deterministic}\n", "cache.default"),
        ("cache: {ttl: 0s}\n", "cache.default"),
        ("routing: {conversation: sticky}\n", "routing.conversation"),
        ("routing: {classifier: 'off'}\n", "routing.conversation"),
        ("retry: {preferred_wait: 0s}\n", "retry.preferred_wait"),
        ("retry: {preferred_again: 0}\n", "retry.preferred_again"),
        ("passthrough: {foreign: pass}\n", "passthrough.foreign"),
        ("server: {max_values: 32000000}\n", "server.max_values"),
    ],
)
def test_there_is_no_note_if_the_key_is_set_or_unused(tmp_path: Path, text: str, path: str) -> None:
    assert path not in paths(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("server: {open: true}\n", {"server.hosts", "server.cors"}),
        ("server: {open: true, hosts: [gw.internal], cors: '*'}\n", set()),
        ("server: {open: true}\nkeys: keys.yaml\n", {"metrics.open"}),
        ("keys: keys.yaml\n", {"metrics.open"}),
        ("keys: keys.yaml\nmetrics: {open: true}\n", set()),
        ("responses: {ttl: 0s}\n", set()),
        (
            "keys: keys.yaml\nresponses: {ttl: 0s}\n",
            {"metrics.open", "responses.foreign"},
        ),
    ],
)
def test_some_notes_depend_on_other_settings(tmp_path: Path, text: str, expected: set[str]) -> None:
    assert {*paths(tmp_path, text)} - {*paths(tmp_path)} == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (BUDGET + LIMIT, {"limits[0].per", "budgets[0].per"}),
        (BUDGET.replace("}", ", per: all}"), set()),
        (BUDGET.replace("}", ", per: key}"), set()),
        (BUDGET.replace("}", ", per: tag}"), {"budgets[0].per"}),
        (LIMIT.replace("}", ", per: tier}"), {"limits[0].per"}),
        (LIMIT.replace("}", ", per: [tenant, tier]}"), set()),
    ],
)
def test_a_limit_over_all_tenants_has_a_note_if_there_are_several(
    tmp_path: Path, text: str, expected: set[str]
) -> None:
    assert {*paths(tmp_path, text, tenants=True)} - {*paths(tmp_path)} == expected
    assert not {*paths(tmp_path, text)} - {*paths(tmp_path)}


@pytest.mark.parametrize(
    "changed", changed_defaults.CHANGED_DEFAULTS, ids=lambda note: ".".join(note.path)
)
def test_the_old_setting_loads_and_silences_the_note(
    tmp_path: Path, changed: changed_defaults.ChangedDefault
) -> None:
    assert ".".join(map(str, changed.path)) not in paths(tmp_path, f"{changed.old_setting}\n")


def test_the_shipped_configuration_has_no_note() -> None:
    assert [*changed_defaults.find_notes(load(find_shipped_config(), {}))] == []
