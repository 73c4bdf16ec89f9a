"""Edits of a key file: what it holds afterwards, what it never holds, and concurrent edits."""

import contextlib
import fcntl
import hashlib
import multiprocessing
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.core.errors import ProblemError
from gateway.limits.errors import KeyFileError
from gateway.limits.key_file import KeyFile
from gateway.limits.keys import load, parse_time
from gateway.settings.errors import ConfigError

NOW = parse_time("2026-11-24T12:00:00Z")
HAND = """\
# Whoever asks: ann@example.com.

shop:   # the web shop
  sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08

# By night.
batch: {sha256: '60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752', tags: [a, b]}
last:
  sha256: fd61a03af4f77d870fc21e05e7e80678095c92d808cfb3b5c279ee04c74aca13
  budgets:
    - usd: 5.50  # as agreed
      every: month
# The end.
"""
"""The secrets are test, test2 and test3."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "keys.yaml"
    made.write_text(HAND)
    return made


def names(folder: Path) -> list[str]:
    return [one.name for one in folder.iterdir()]


def ring(file: Path, now: float = NOW) -> KeyFile:
    return KeyFile(file, clock=lambda: now)


def opens(file: Path, secret: str, now: float = NOW) -> bool:
    keys = load(file.name, file.parent, "", clock=lambda: now)
    with contextlib.suppress(ProblemError):
        return bool(keys.find(secret).name)
    return False


def lines(file: Path) -> tuple[list[str], list[str]]:
    """Return the lines that were removed from the file, and the added ones."""
    old, new = HAND.splitlines(), file.read_text().splitlines()
    return [line for line in old if line not in new], [line for line in new if line not in old]


def test_a_secret_is_256_bits_at_random_and_only_its_hash_is_kept(file: Path) -> None:
    secret = KeyFile(file, clock=lambda: NOW, random_bytes=lambda size: bytes(range(size))).add(
        "new", {}
    )
    assert secret == "tg-" + bytes(range(32)).hex()
    assert opens(file, secret)
    text = file.read_text()
    assert hashlib.sha256(secret.encode()).hexdigest() in text
    assert secret[3:] not in text
    others = {ring(file).add(f"n{n}", {}) for n in range(5)}
    assert len(others) == 5
    assert {len(one) for one in others} == {67}


def test_a_key_that_is_added_stands_at_the_end_and_nothing_else_changes(file: Path) -> None:
    ring(file).add("new", {"lab": "acme", "tags": ["a", "b"], "expires": "2027-01-31"})
    gone, come = lines(file)
    assert gone == []
    assert come[0] == "new:"
    assert come[2:] == ["  lab: acme", "  tags: [a, b]", "  expires: '2027-01-31'"]
    assert list(ring(file).read()) == ["shop", "batch", "last", "new"]


def test_the_first_key_makes_the_file_which_is_its_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    assert ring(file).read() == {}
    secret = ring(file).add("me", {})
    assert opens(file, secret)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert names(tmp_path) == ["keys.yaml"]


def test_a_file_keeps_its_owner_and_what_it_allows(file: Path) -> None:
    """The user who runs the gateway can still read the file; a link stays a link."""
    file.chmod(0o640)
    if os.getuid() == 0:
        os.chown(file, 12345, 54321)
    before, inode = file.stat(), file.stat().st_ino
    link = file.with_name("link.yaml")
    link.symlink_to(file.name)
    ring(link).add("new", {})
    after = file.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    assert link.is_symlink()
    assert after.st_ino != inode, "replaced as a whole, not written over"


def test_a_revoked_key_opens_nothing_and_its_name_goes_to_nobody_else(file: Path) -> None:
    assert opens(file, "test")
    assert ring(file).revoke("shop")
    assert not opens(file, "test")
    assert opens(file, "test2")
    gone, come = lines(file)
    assert (gone, come) == ([], ["  revoked: '2026-11-24T12:00:00Z'"])
    assert not ring(file, NOW + 60).revoke("shop")
    assert "12:00:00Z" in file.read_text(), "the first time counts"
    with pytest.raises(KeyFileError, match="It is revoked, and its name cannot be used again"):
        ring(file).add("shop", {})
    with pytest.raises(KeyFileError, match="was revoked: add another"):
        ring(file).rotate("shop", 60)


def test_comments_stay_with_what_they_are_about(file: Path) -> None:
    """A comment after the last line of a key belongs to the next key."""
    ring(file).revoke("shop")
    ring(file).rotate("last", 60)
    text = file.read_text()
    assert "a08\n\n# By night.\nbatch:" in text
    assert "      every: month\n# The end.\n" in text
    assert "shop:   # the web shop\n" in text


@pytest.mark.parametrize("name", ["shop", "batch", "last"])
def test_the_secret_before_opens_for_as_long_as_is_said(file: Path, name: str) -> None:
    old = {"shop": "test", "batch": "test2", "last": "test3"}[name]
    new = ring(file).rotate(name, 3600)
    for now, old_opens in ((NOW, True), (NOW + 3599, True), (NOW + 3600, False)):
        assert (opens(file, old, now), opens(file, new, now)) == (old_opens, True)
    gone, _ = lines(file)
    assert all("sha256" in line for line in gone)


def test_a_key_can_be_rotated_again_before_the_first_secret_ends(file: Path) -> None:
    """The edit also removes secrets that have expired."""
    second = ring(file).rotate("last", 3600)
    third = ring(file, NOW + 60).rotate("last", 60)
    assert [opens(file, one, NOW + 61) for one in ("test3", second, third)] == [True, True, True]
    assert [opens(file, one, NOW + 121) for one in ("test3", second, third)] == [True, False, True]
    fourth = ring(file, NOW + 7200).rotate("last", 60)
    assert len(ring(file).read()["last"].earlier) == 1
    assert [opens(file, one, NOW + 7201) for one in (second, third, fourth)] == [False, True, True]


def test_a_secret_that_got_out_ends_at_once_with_all_before_it(file: Path) -> None:
    second = ring(file).rotate("shop", 3600)
    third = ring(file).rotate("shop", 0)
    assert [opens(file, one) for one in ("test", second, third)] == [False, False, True]
    assert "earlier" not in file.read_text()


def test_a_key_that_has_expired_is_not_rotated(file: Path) -> None:
    ring(file).add("old", {"expires": "2026-11-23"})
    with pytest.raises(KeyFileError, match=r"expired on 2026-11-23\. Change its `expires` in"):
        ring(file).rotate("old", 60)


ACTS: dict[str, Callable[[KeyFile], object]] = {
    "revoke": lambda one: one.revoke("shopp"),
    "rotate": lambda one: one.rotate("shopp", 60),
    "add": lambda one: one.add("shop", {}),
    "a tier": lambda one: one.add("new", {"tiers": ["slow"]}),
    "a setting": lambda one: one.add("new", {"lob": "acme"}),
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_what_is_refused_changes_nothing(file: Path, act: Callable[[KeyFile], object]) -> None:
    before = file.stat()
    with pytest.raises((KeyFileError, ConfigError)) as caught:
        act(ring(file))
    assert "shop" in str(caught.value) or "new." in str(caught.value)
    assert file.read_text() == HAND
    assert file.stat().st_ino == before.st_ino
    assert names(file.parent) == ["keys.yaml"]


def test_what_is_refused_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="no key 'me'"):
        ring(tmp_path / "keys.yaml").revoke("me")
    assert names(tmp_path) == []


BY_HAND = [
    (f"'12': &k {{sha256: {'a' * 64}}}\nb: *k\n", "has the same secret"),
    (f"12: {{sha256: {'a' * 64}}}\n", "change it by hand"),
    ("- a\n", "must map names to keys"),
    ("a: [\n", "not valid YAML"),
    ("a: {}\n", "a.sha256: field required"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "words"), BY_HAND)
def test_a_file_that_cannot_be_changed_with_certainty_is_left_alone(
    file: Path, text: str, words: str
) -> None:
    """A file with a mistake is left alone too: its author must mend it."""
    file.write_text(text)
    with pytest.raises((KeyFileError, ConfigError)) as caught:
        ring(file).revoke("12")
    assert words in str(caught.value)
    assert file.read_text() == text


def test_a_file_that_is_no_text(file: Path) -> None:
    file.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        ring(file).revoke("shop")


def test_a_comment_that_would_be_lost_is_not(file: Path) -> None:
    """The edit is refused if it would replace lines around the comment: a person must decide."""
    earlier = f"  earlier:\n  # leaked\n  - sha256: {'a' * 64}\n    until: 2026-01-31\n    # once\n"
    text = HAND.replace("  budgets", f"{earlier}  budgets")
    file.write_text(text)
    with pytest.raises(KeyFileError, match="by hand"):
        ring(file).rotate("last", 0)
    assert file.read_text() == text


def test_a_file_is_whole_or_as_it_was_when_the_disk_is_full(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        ring(file).revoke("shop")
    assert file.read_text() == HAND
    assert names(file.parent) == ["keys.yaml"]


def _add(path: str, worker: int) -> None:
    for n in range(10):
        KeyFile(Path(path), clock=lambda: NOW).add(f"w{worker}-{n}", {})


def test_several_that_edit_at_once_lose_nothing(tmp_path: Path) -> None:
    """All processes race to create the file with the first key."""
    file = tmp_path / "keys.yaml"
    fork = multiprocessing.get_context("spawn")
    started = [fork.Process(target=_add, args=(str(file), n)) for n in range(3)]
    for one in started:
        one.start()
    for one in started:
        one.join(60)
    assert [one.exitcode for one in started] == [0, 0, 0]
    assert sorted(ring(file).read()) == sorted(f"w{w}-{n}" for w in range(3) for n in range(10))
    assert names(tmp_path) == ["keys.yaml"]


@pytest.mark.parametrize("gone", [False, True])
def test_a_file_that_is_replaced_while_it_is_waited_for_is_opened_again(
    file: Path, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    """The lock of a file that was replaced guards nothing."""
    real = fcntl.flock

    def late(descriptor: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", real)
        if gone:
            file.unlink()
        else:
            ring(file).add("theirs", {})
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    ring(file).add("ours", {})
    assert list(ring(file).read())[-2:] == (["ours"] if gone else ["theirs", "ours"])


def test_a_first_key_is_made_where_there_is_none(tmp_path: Path) -> None:
    """The gateway makes one first key, even after a revocation or if two processes race."""
    file = tmp_path / "keys.yaml"
    secret = ring(file).create_first("first")
    assert secret is not None
    assert opens(file, secret)
    assert ring(file).create_first("first") is None
    ring(file).revoke("first")
    assert ring(file).create_first("first") is None
    assert not opens(file, secret)


def test_a_first_key_is_made_by_whoever_is_first(file: Path) -> None:
    """A file that another process fills between the two steps keeps its content."""
    one = ring(file)
    one.read = dict  # type: ignore[method-assign]  # as if the file were empty still
    assert one.create_first("shop") is None
    assert file.read_text() == HAND
