"""Client keys: where they are read from, and what is found by which secret."""

import hashlib
from pathlib import Path

import pytest

from gateway.core.call import OPEN, Key
from gateway.core.problem import ProblemError
from gateway.http.edge import Head
from gateway.limits.keys import Keys, load
from gateway.settings.mistake import ConfigError

NO_FOLDER = Path("/nowhere")


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def test_open_lets_everybody_in() -> None:
    keys = load("open", NO_FOLDER, "")
    assert keys.is_open
    assert len(keys) == 0
    for secret in (None, "", "anything"):
        assert keys.find(secret) is OPEN


def test_keys_of_the_environment_close_it() -> None:
    """`keys: open` and a key: it is not open any more."""
    keys = load("open", NO_FOLDER, f" one={digest('s1')} , two={digest('s2').upper()},")
    assert not keys.is_open
    assert len(keys) == 2
    assert (keys.find("s1"), keys.find("s2")) == (Key(name="one"), Key(name="two"))


@pytest.mark.parametrize(
    "secret", [None, "", "s", "s11", "s1 ", "S1", digest("s1"), "\udc80", "ä" * 9999]
)
def test_a_key_that_is_not_known(secret: str | None) -> None:
    keys = load("open", NO_FOLDER, f"one={digest('s1')}")
    with pytest.raises(ProblemError) as caught:
        keys.find(secret)
    problem = caught.value.problem
    assert (problem.kind, problem.http_status, problem.should_retry) == ("invalid_api_key", 401, False)  # fmt: skip
    assert digest("s1") not in problem.message
    assert ("is required" in problem.message) == (not secret)


def test_a_secret_beyond_ascii(tmp_path: Path) -> None:
    """As it stands in a header: bytes read as Latin-1."""
    keys = load("open", tmp_path, f"one={digest('caf\xe9')}")
    (secret,) = Head([(b"x-api-key", b"caf\xe9")]).secrets
    assert keys.find(secret).name == "one"


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "keys.yaml").write_text(
        f"app: {{sha256: {digest('s1')}, tenant: t, lab: acme, tags: shop, allowed_tags: [a, b],"
        f" labs: acme, tiers: [fast]}}\n"
        f"plain: {{sha256: {digest('s2')}}}\n"
        f"nothing: {{sha256: {digest('s3')}, allowed_tags: []}}\n"
    )
    keys = load("keys.yaml", tmp_path, f"more={digest('s4')}")
    assert keys.find("s1") == Key(
        name="app", tenant="t", lab="acme", tags=("shop",), allowed_tags=("a", "b"),
        labs=("acme",), tiers=("fast",),
    )  # fmt: skip
    assert keys.find("s2") == Key(name="plain")
    assert keys.find("s3") == Key(name="nothing", allowed_tags=())
    assert keys.find("s4") == Key(name="more")
    assert not keys.is_open


def test_an_empty_file_lets_nobody_in(tmp_path: Path) -> None:
    """A file that is there but empty is not `open`."""
    (tmp_path / "keys.yaml").write_text("")
    keys = load("keys.yaml", tmp_path, "")
    assert not keys.is_open
    with pytest.raises(ProblemError):
        keys.find("anything")


GOOD = digest("s")
MISTAKES: list[tuple[str, str]] = [
    ("- a\n", "must map names to keys"),
    ("app: {}\n", "keys.yaml:1: error: app.sha256: field required"),
    (f"\napp: {{sha256: {GOOD}, tier: [fast]}}\n", "keys.yaml:2: error: app.tier:"),
    ("app: {sha256: abc}\n", "app: a key is a name and the SHA-256 of its secret"),
    (f"app: {{sha256: {GOOD[:-1]}g}}\n", "64 hex digits"),
    (f"one: {{sha256: {GOOD}}}\ntwo: {{sha256: {GOOD.upper()}}}\n", "two: has the same secret as 'one'"),
    (f"one: {{sha256: {GOOD}}}\none: {{sha256: {digest('t')}}}\n", "given twice"),
    ("one: text\n", "keys.yaml:1: error: one:"),
    ("one: [\n", "not valid YAML"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "words"), MISTAKES)
def test_mistakes_in_a_file(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "keys.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load("keys.yaml", tmp_path, "")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "extra", ["one", "one=", f"={GOOD}", f"one={GOOD}x", f"one={GOOD},two={GOOD}"]
)
def test_mistakes_in_the_environment(extra: str) -> None:
    with pytest.raises(ConfigError, match="TIERGATE_KEYS"):
        load("open", NO_FOLDER, extra)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: no such file"):
        load("keys.yaml", tmp_path, "")


HEADERS: list[tuple[list[tuple[bytes, bytes]], *tuple[str, ...]]] = [
    ([],),
    ([(b"authorization", b"Bearer s1")], "s1"),
    ([(b"authorization", b"bearer   s1")], "s1"),
    ([(b"authorization", b"BEARER s1 ")], "s1"),
    ([(b"authorization", b"s1")], "s1"),
    ([(b"authorization", b"Bearer")], ""),
    ([(b"authorization", b"Basic czE6")], "Basic czE6"),
    ([(b"x-api-key", b"s1")], "s1"),
    ([(b"api-key", b" s1 ")], "s1"),
    ([(b"x-goog-api-key", b"s1")], "s1"),
    ([(b"x-goog-api-key", b"s2"), (b"x-api-key", b"s1")], "s2", "s1"),
    ([(b"x-api-key", b"s2"), (b"authorization", b"Bearer s1")], "s2", "s1"),
    ([(b"x-api-key", b"s1"), (b"authorization", b"Bearer s1")], "s1"),
]


@pytest.mark.parametrize("case", HEADERS)
def test_where_a_secret_stands(case: tuple[list[tuple[bytes, bytes]], *tuple[str, ...]]) -> None:
    """Different ones are all told: which of them counts must not be guessed."""
    headers, *secrets = case
    assert list(Head(headers).secrets) == secrets


def test_no_secret_is_kept() -> None:
    keys = load("open", NO_FOLDER, f"one={digest('my secret')}")
    keys.find("my secret")
    assert isinstance(keys, Keys)
    assert "my secret" not in repr(vars(keys))
