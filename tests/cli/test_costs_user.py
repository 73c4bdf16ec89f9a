"""The command `costs user`: the hash under which the ledger has an end user."""

from pathlib import Path

import pytest

from gateway.pipeline.end_users import HASH_KEY_LABEL, EndUserHasher
from gateway.state.secret import derive_key
from tests.cli.run import GOOD, ON, config, run

HASHER = EndUserHasher(derive_key(b"a secret", HASH_KEY_LABEL))
KEYS = "ann: {sha256: '%s', tenant: acme}\n" % ("ab" * 32)


def ask(folder: Path, *words: str, **environ: str) -> tuple[int, str]:
    (folder / "keys.yaml").write_text(KEYS)
    file = config(folder, f"{GOOD}keys: keys.yaml\n")
    result = run(
        "--config", str(file), "costs", "user", *words,
        environ={**ON, "TIERGATE_DATA": str(folder / "data"), **environ},
    )  # fmt: skip
    return result.exit_code, result.output.strip()


@pytest.mark.parametrize(("key", "tenant"), [("ann", "acme"), ("open", "default")])
def test_the_command_prints_the_hash_that_rows_have(tmp_path: Path, key: str, tenant: str) -> None:
    answer = ask(tmp_path, key, "u-4711", TIERGATE_SECRET="a secret")
    assert answer == (0, HASHER.hash_id(tenant, key, "u-4711"))
    session = ask(tmp_path, key, "user_d_account_u-4711_session_1", TIERGATE_SECRET="a secret")
    assert session == answer


def test_the_command_reads_the_secret_of_the_data_folder_and_makes_none(tmp_path: Path) -> None:
    status, text = ask(tmp_path, "ann", "u-4711")
    assert status == 1
    assert f"there is no secret in {tmp_path / 'data'}" in text
    assert not (tmp_path / "data").exists()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "secret").write_text("a secret\n")
    assert ask(tmp_path, "ann", "u-4711") == (0, HASHER.hash_id("acme", "ann", "u-4711"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("anne", "u"), "there is no key 'anne'. Did you mean 'ann'?"),
        (("ann", '{"session_id":"s"}'), "this id names nobody"),
    ],
)
def test_the_command_says_what_is_wrong(
    tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    status, text = ask(tmp_path, *words, TIERGATE_SECRET="a secret")
    assert status == 1
    assert message in text
