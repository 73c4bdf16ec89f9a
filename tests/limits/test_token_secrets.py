"""Test verified tokens in the key table: each is one more secret of a key, until it expires."""

from pathlib import Path

import pytest

from gateway.core.errors import ProblemError
from gateway.limits import keys
from gateway.limits.keys import KeyTable, TokenUser, hash_secret, load
from tests.limits.test_keys import digest, write

TOKEN = hash_secret("a token")
USER = TokenUser("ann@example.com", is_fixed=False)


class TokenClock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> TokenClock:
    return TokenClock()


@pytest.fixture
def table(tmp_path: Path, clock: TokenClock) -> KeyTable:
    text = f"ann: {{sha256: {digest('ann')}, expires: 1970-01-02T00:00:00Z}}"
    return load(write(tmp_path, text).name, tmp_path, "", clock=clock)


def test_a_token_is_a_secret_of_its_key_until_it_expires(
    table: KeyTable, clock: TokenClock
) -> None:
    assert table.find_token(TOKEN) is None
    table.add_token(TOKEN, table.find_active("ann"), USER, 100.0)
    token = table.find_token(TOKEN)
    assert token is not None
    assert token.key == table.find_by_hash(TOKEN) == table.find("ann")
    assert token.end_user == USER
    clock.now = 100.0
    assert table.find_token(TOKEN) is None
    with pytest.raises(ProblemError, match="does not know this key"):
        table.find_by_hash(TOKEN)


def test_a_token_expires_with_its_key(table: KeyTable, clock: TokenClock) -> None:
    table.add_token(TOKEN, table.find_active("ann"), USER, 1e9)
    clock.now = 86_400.0
    assert table.find_token(TOKEN) is None
    with pytest.raises(ProblemError, match="is not active"):
        table.find_active("ann")


def test_a_token_of_an_unknown_key_is_refused(table: KeyTable) -> None:
    with pytest.raises(ProblemError, match="is not active"):
        table.find_active("bob")


def test_a_new_key_file_makes_the_table_forget_tokens(table: KeyTable, tmp_path: Path) -> None:
    table.add_token(TOKEN, table.find_active("ann"), USER, 100.0)
    write(tmp_path, f"ann: {{sha256: {digest('ann')}, revoked: 2026-11-01}}")
    table.refresh()
    assert table.find_token(TOKEN) is None


def test_the_table_holds_a_bounded_number_of_tokens(
    table: KeyTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_MAX_TOKENS", 2)
    hashes = [hash_secret(text) for text in ("first", "second", "third")]
    for digest_of_token in hashes:
        table.add_token(digest_of_token, table.find_active("ann"), USER, 100.0)
    assert [table.find_token(item) is None for item in hashes] == [True, False, False]
