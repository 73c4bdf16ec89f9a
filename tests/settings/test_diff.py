"""Changes between two configurations, part by part; no change shows a secret."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway.settings.diff import keep_startup_settings, list_changes, list_switched_labs
from tests.settings.world import BASE, ON, built, loaded

WITH_CHOICES = BASE + "choices:\n- {name: a, tier: fast}\n- {name: b, tier: smart}\n"


def describe_changes(
    folder: Path, before: str, after: str, environ: Mapping[str, str] = ON
) -> list[str]:
    return [
        str(change)
        for change in list_changes(loaded(folder, before), loaded(folder, after, environ))
    ]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("model: large}]", "model: larger}]", ["labs.acme.smart[0].model: large -> larger"]),
        ("{input: 1, output: 2}", "{input: 1.5, output: 2}", ["models.small.price.input: 1 -> 1.5"]),
        ("input: 3, output: 4", "output: 4", ["models.large.price.input: gone, was 3"]),
        ("fast: [{model: small, effort: none}]", "fast: [{model: small}]", ["labs.acme.fast[0].effort: gone, was none"]),
        ("smart: [{model: large}]", "smart: [{model: large}, {model: small}]",
         ['labs.acme.smart: [{"model":"large"}] -> [{"model":"large"},{"model":"small"}]']),
        ("- {name: a, tier: fast}\n", "", ['choices.a: gone, was {"name":"a","tier":"fast"}']),
        ("- {name: a, tier: fast}\n", "- {name: c, tier: fast}\n- {name: a, tier: fast}\n",
         ['choices.c: added, {"name":"c","tier":"fast"}']),
        ("{name: a, tier: fast}", "{name: a, tier: smart}", ["choices.a.tier: fast -> smart"]),
        ("{name: a, tier: fast}\n- {name: b, tier: smart}", "{name: b, tier: smart}\n- {name: a, tier: fast}",
         ['choices.order: ["a","b"] -> ["b","a"]']),
        ("- {name: b", "- {name: a, tier: smart}\n- {name: b", ['choices.a (2): added, {"name":"a","tier":"smart"}']),
        ("version: 1\n", "version: 1\nkeys: keys.yaml\n", ["keys.store: open -> keys.yaml"]),
        ("version: 1\n", "version: 1\nkeys: postgresql://me:pass-word@host/x\n", ["keys.store: open -> (not shown)"]),
        ("version: 1\n", "version: 1 # the first\ncache: {}\n", []),
        ("version: 1\n", "version: 1\nserver: {port: 9}\ncache: {ttl: 9s}\n",
         ["server.port: 8484 -> 9", "cache.ttl: 3600.0 -> 9.0"]),
        ("version: 1\n", 'version: 1\nledger: {store: "postgresql://u:pass-word@h/d"}\n',
         ["ledger.store: another value (not shown)"]),
        ("https://acme.example/v1", "https://user:pass-word@acme.example/v2?key=pass-word",
         ["providers.acme.base_url: https://acme.example/v1 -> https://acme.example/v2"]),
        ("https://acme.example/v1", "https://[acme.example/v2",
         ["providers.acme.base_url: https://acme.example/v1 -> (not shown)"]),
        ("accounts: {main:", "headers: {x: pass-word}\n    accounts: {main:", ["providers.acme.headers: {} -> (not shown)"]),
        ("accounts: {main:", "proxy: http://pass-word@p:1\n    accounts: {main:", ["providers.acme.proxy: added, (not shown)"]),
        ("accounts: {main:", "accounts: {next: pass-word, main:", ["providers.acme.accounts.next: added, (not shown)"]),
        ("model: large}]", f"model: large, params: {{x: {'y' * 200}}}}}]",
         [f'labs.acme.smart[0].params: {{}} -> {{"x":"{"y" * 114}...']),
    ],
)  # fmt: skip
def test_each_change_is_described_in_the_words_of_the_file(
    tmp_path: Path, before: str, after: str, expected: list[str]
) -> None:
    assert before in WITH_CHOICES
    assert (
        describe_changes(tmp_path, WITH_CHOICES, WITH_CHOICES.replace(before, after, 1)) == expected
    )


def test_a_new_part_is_shown_without_its_secrets(tmp_path: Path) -> None:
    more = (
        "  more:\n    base_url: https://m.example\n    dialects: {openai-chat: /c}\n"
        "    headers: {x: pass-word}\n    accounts: {main: pass-word}\nlabs:\n"
    )
    (line,) = describe_changes(tmp_path, BASE, BASE.replace("labs:\n", more, 1))
    assert line.startswith("providers.more: added, {")
    assert '"headers":"(not shown)"' in line or "..." in line
    assert "pass-word" not in line


def test_a_change_by_the_environment_shows_only_the_name_of_the_variable(tmp_path: Path) -> None:
    """The value of a credential, or of any other part, may be secret: only its name is shown."""
    text = BASE.replace("https://acme.example/v1", "https://${HOST}/v1")
    before = loaded(tmp_path, text, {**ON, "HOST": "one-host"})
    after = loaded(tmp_path, text, {"ACME_API_KEY": "sk-other", "HOST": "other-host"})
    assert [str(change) for change in list_changes(before, after)] == [
        "providers.acme.base_url: another value of https://${HOST}/v1",
        "providers.acme.accounts.main: another value (not shown)",
    ]
    assert before.version == after.version


def test_labs_that_switch_on_or_off_are_listed(tmp_path: Path) -> None:
    on, off = built(tmp_path, BASE), built(tmp_path, BASE, {})
    assert [str(change) for change in list_switched_labs(on, off)] == [
        "lab acme: on -> off (set ACME_API_KEY)"
    ]
    assert [str(change) for change in list_switched_labs(off, on)] == [
        "lab acme: off (set ACME_API_KEY) -> on"
    ]
    assert not list_switched_labs(on, on)


def test_a_setting_that_needs_a_restart_keeps_its_old_value(tmp_path: Path) -> None:
    """The gateway reports such a change and keeps the old value; it takes all other changes."""
    text = "server: {port: 9}\ncache: {ttl: 9s, max_bytes: 1MB}\nledger: {journal: j, keep: 9d}\n"
    first, changed = loaded(tmp_path, BASE), loaded(tmp_path, BASE + text)
    assert {change.path: change.waits for change in list_changes(first, changed)} == {
        "server.port": True,
        "cache.ttl": False,
        "cache.max_bytes": True,
        "ledger.journal": True,
        "ledger.keep": False,
    }
    kept_config = keep_startup_settings(first.config, changed.config)
    assert (kept_config.server.port, kept_config.cache.max_bytes, kept_config.ledger.journal) == (
        8484,
        64_000_000,
        "ledger",
    )
    assert (kept_config.cache.ttl, kept_config.ledger.keep) == (9.0, 9 * 86_400.0)
    assert changed.config.server.port == 9
