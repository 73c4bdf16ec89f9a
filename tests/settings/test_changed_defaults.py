"""Notes on changed defaults: each tells the operator how to keep the old behaviour."""

from pathlib import Path

import pytest

from gateway.settings import changed_defaults
from gateway.settings.environment import find_shipped_config
from gateway.settings.loader import load
from tests.settings import world

BUDGET = "budgets: [{name: all, usd: 5, every: day}]\n"
LIMIT = "limits: [{name: rate, requests: 9/m}]\n"


def notes(folder: Path, more: str = "") -> list[str]:
    """Return the notes on a configuration."""
    return [*map(str, changed_defaults.find_notes(world.loaded(folder, world.BASE + more)))]


def paths(folder: Path, more: str = "", *, tenants: bool = False) -> list[str]:
    """Return the keys that have a note."""
    source = world.loaded(folder, world.BASE + more)
    found = changed_defaults.find_notes(source, several_tenants=tenants)
    return [one.path for one in found]


def test_a_configuration_is_told_each_default_that_it_meets(tmp_path: Path) -> None:
    assert paths(tmp_path) == [
        "cache.default",
        "routing.conversation",
        "retry.preferred_wait",
        "retry.preferred_again",
        "server.max_values",
    ]


def test_a_note_says_the_old_setting(tmp_path: Path) -> None:
    assert notes(tmp_path, "cache: {ttl: 5m}\n")[0] == (
        f"{tmp_path}/c.yaml:16: cache.default is now `deterministic`: embeddings, and chat at "
        "temperature 0 without tools. As before: `cache: {default: on}`."
    )


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ("cache: {default: on}\n", "cache.default"),
        ("cache: {default: deterministic}\n", "cache.default"),
        ("cache: {ttl: 0s}\n", "cache.default"),
        ("routing: {conversation: sticky}\n", "routing.conversation"),
        ("routing: {classifier: 'off'}\n", "routing.conversation"),
        ("retry: {preferred_wait: 0s}\n", "retry.preferred_wait"),
        ("retry: {preferred_again: 0}\n", "retry.preferred_again"),
        ("server: {max_values: 32000000}\n", "server.max_values"),
    ],
)
def test_who_writes_the_key_or_does_not_use_it_is_told_nothing(
    tmp_path: Path, more: str, path: str
) -> None:
    assert path not in paths(tmp_path, more)


@pytest.mark.parametrize(
    ("more", "told"),
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
def test_what_touches_some_configurations_alone(tmp_path: Path, more: str, told: set[str]) -> None:
    assert {*paths(tmp_path, more)} - {*paths(tmp_path)} == told


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (BUDGET + LIMIT, {"limits[0].per", "budgets[0].per"}),
        (BUDGET.replace("}", ", per: all}"), set()),
        (BUDGET.replace("}", ", per: key}"), set()),
        (BUDGET.replace("}", ", per: tag}"), {"budgets[0].per"}),
        (LIMIT.replace("}", ", per: tier}"), {"limits[0].per"}),
        (LIMIT.replace("}", ", per: [tenant, tier]}"), set()),
    ],
)
def test_one_sum_for_all_tenants_is_told_where_there_are_several(
    tmp_path: Path, more: str, told: set[str]
) -> None:
    assert {*paths(tmp_path, more, tenants=True)} - {*paths(tmp_path)} == told
    assert not {*paths(tmp_path, more)} - {*paths(tmp_path)}


@pytest.mark.parametrize(
    "changed", changed_defaults.CHANGED_DEFAULTS, ids=lambda one: ".".join(one.path)
)
def test_the_old_setting_is_one_that_loads(
    tmp_path: Path, changed: changed_defaults.ChangedDefault
) -> None:
    """The old setting also silences the note."""
    assert ".".join(map(str, changed.path)) not in paths(tmp_path, f"{changed.old_setting}\n")


def test_what_ships_leaves_none_open() -> None:
    assert [*changed_defaults.find_notes(load(find_shipped_config(), {}))] == []
