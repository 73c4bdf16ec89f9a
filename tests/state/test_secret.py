"""The root secret: where it comes from, that all processes agree, and the keys derived from it."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.state.secret import derive_key, load_root


def test_derive_key_is_hkdf() -> None:
    """RFC 5869, A.3: no salt, no info; the first 32 of 42 bytes."""
    expected = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
    assert derive_key(b"\x0b" * 22, "").hex() == expected


def test_each_label_and_each_root_derives_its_own_key() -> None:
    keys = {
        derive_key(root, label) for root in (b"a", b"b") for label in ("cache", "cookie", "cursor")
    }
    assert len(keys) == 6


@pytest.mark.parametrize(
    ("text", "secret"),
    [("one", b"one"), ("new,old", b"new"), (" new , old ", b"new"), (",old", b"old")],
)
def test_the_secret_of_the_environment_comes_first(
    tmp_path: Path, text: str, secret: bytes
) -> None:
    assert load_root(tmp_path, {"TIERGATE_SECRET": text}) == secret
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("environ", [{}, {"TIERGATE_SECRET": ""}, {"TIERGATE_SECRET": " , "}])
def test_the_gateway_creates_the_secret_once(tmp_path: Path, environ: dict[str, str]) -> None:
    data = tmp_path / "not" / "there"
    secret = load_root(data, environ)
    assert len(bytes.fromhex(secret.decode())) == 32
    assert load_root(data, environ) == secret
    assert stat.S_IMODE((data / "secret").stat().st_mode) == 0o600


def test_each_deployment_has_its_own_secret(tmp_path: Path) -> None:
    assert load_root(tmp_path / "a", {}) != load_root(tmp_path / "b", {})


def test_the_gateway_uses_an_operators_own_secret_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("mine\n")
    (tmp_path / "secret").chmod(0o400)
    assert load_root(tmp_path, {}) == b"mine"


def test_the_gateway_fills_a_secret_file_that_a_crash_left_empty(tmp_path: Path) -> None:
    (tmp_path / "secret").touch()
    secret = load_root(tmp_path, {})
    assert secret
    assert load_root(tmp_path, {}) == secret


def test_processes_that_start_together_use_the_same_secret(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from gateway.state.secret import load_root;"
        "sys.stdin.readline(); print(load_root(Path(sys.argv[1]), {}).decode())"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "data")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    secrets = [process.communicate(timeout=60)[0].strip() for process in started]
    assert secrets == [load_root(tmp_path / "data", {}).decode()] * 4
