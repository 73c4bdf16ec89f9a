"""What `keys` of a configuration opens, and what is refused."""

from pathlib import Path

import pytest

from gateway.limits.key_file import KeyFile
from gateway.limits.key_loading import load_key_table, open_key_store
from gateway.limits.key_store.sqlite import SqliteKeyDatabase
from gateway.settings.errors import ConfigError
from gateway.settings.loader import ConfigSource, load
from tests.cli.run import GOOD, ON, config


def source(folder: Path, keys: str, more: str = "") -> ConfigSource:
    return load(config(folder, f"{GOOD}keys: {keys}\n{more}"), ON)


def test_each_kind_of_keys_has_its_store(tmp_path: Path) -> None:
    assert open_key_store(source(tmp_path, "open"), tmp_path) is None
    key_file = open_key_store(source(tmp_path, "keys.yaml"), tmp_path)
    assert isinstance(key_file, KeyFile)
    assert key_file.place == f"{tmp_path}/keys.yaml"
    database = open_key_store(source(tmp_path, "{store: 'sqlite:///keys.db'}"), tmp_path)
    assert isinstance(database, SqliteKeyDatabase)


def test_a_table_of_a_database_is_made_only_for_a_gateway(tmp_path: Path) -> None:
    of_database = source(tmp_path, "sqlite:///keys.db")
    data = tmp_path / "data"
    table = load_key_table(of_database, data, {})
    assert (table.is_open, len(table), data.exists()) == (False, 0, False)
    load_key_table(of_database, data, {"TIERGATE_KEYS": f"ann={'a' * 64}"}, creates=True)
    assert [path.name for path in data.iterdir()] == ["keys.db"]
    assert load_key_table(source(tmp_path, "open"), data, {}).is_open


REFUSED = [
    ("sqlite:///ledger.db", "", "is the file of the ledger"),
    ("sqlite:////data/ledger.db", "ledger: {store: 'sqlite:////data/ledger.db'}\n", "is the file of the ledger"),
    ("'sqlite:///'", "", "is written sqlite:///keys.db"),
    ("'sqlite:///:memory:'", "", "is written sqlite:///keys.db"),
    ("'postgresql://me:hunt@er2@host/x'", "", "the URL of the key database cannot be read"),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "more", "words"), REFUSED)
def test_a_database_that_cannot_be_used_is_a_mistake(
    tmp_path: Path, keys: str, more: str, words: str
) -> None:
    for act in (open_key_store, lambda one, data: load_key_table(one, data, {})):
        with pytest.raises(ConfigError) as caught:
            act(source(tmp_path, keys, more), tmp_path / "data")
        assert words in str(caught.value)
        assert "keys: " in str(caught.value)
        assert "er2" not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("mysql://host/keys", "must be `open`, a file of keys, sqlite:///keys.db or postgresql://"),
        ("5", "or a mapping with `store` and `stale`"),
        ("{store: open, stail: 1h}", "stale"),
    ],
)
def test_another_value_is_refused_with_its_forms(tmp_path: Path, keys: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        source(tmp_path, keys)
    assert words in str(caught.value)


def test_a_database_that_does_not_answer_is_a_mistake_with_a_hint(tmp_path: Path) -> None:
    away = source(tmp_path, "postgresql://me:hunter2@127.0.0.1:1/x")
    with pytest.raises(ConfigError) as caught:
        load_key_table(away, tmp_path, {})
    text = str(caught.value)
    assert "the key database: " in text
    assert "There is no last known copy" in text
    assert "Start the database, or check its URL in `keys`." in text
    assert "hunter2" not in text
