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
from gateway.limits.errors import KeyChangeError, KeyFileError
from gateway.limits.key_admin import KeyAdmin
from gateway.limits.key_file import KeyFile
from gateway.limits.keys import load, parse_time
from gateway.settings.errors import ConfigError
from gateway.state.audit import AuditLog, AuditQuery

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
    path = tmp_path / "keys.yaml"
    path.write_text(HAND)
    return path


def names(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


class Ring(KeyAdmin):
    """The work on the keys of a file."""

    def __init__(self, file: Path, now: float = NOW) -> None:
        super().__init__(KeyFile(file), clock=lambda: now)

    def add(self, name: str, settings: dict[str, object]) -> str:
        secret = self.create(name, settings, "me").secret
        assert secret is not None
        return secret

    def names(self) -> list[str]:
        return [record.name for record in self.list_keys()]


def ring(file: Path, now: float = NOW) -> Ring:
    return Ring(file, now)


def turned(file: Path, name: str, seconds: float, now: float = NOW) -> str:
    """Rotate a key; return its new secret."""
    secret = ring(file, now).rotate(name, seconds, "me").secret
    assert secret is not None
    return secret


def opens(file: Path, secret: str, now: float = NOW) -> bool:
    keys = load(file.name, file.parent, "", clock=lambda: now)
    with contextlib.suppress(ProblemError):
        return bool(keys.find(secret).name)
    return False


def changed_lines(file: Path) -> tuple[list[str], list[str]]:
    """Return the lines that were removed from the file, and the added ones."""
    old, new = HAND.splitlines(), file.read_text().splitlines()
    return [line for line in old if line not in new], [line for line in new if line not in old]


def test_a_new_secret_has_256_random_bits_and_the_file_keeps_only_its_hash(file: Path) -> None:
    admin = KeyAdmin(KeyFile(file), clock=lambda: NOW, random_bytes=lambda size: bytes(range(size)))
    secret = admin.create("new", {}, "me").secret
    assert secret == "tg-" + bytes(range(32)).hex()
    assert secret is not None
    assert opens(file, secret)
    text = file.read_text()
    assert hashlib.sha256(secret.encode()).hexdigest() in text
    assert secret[3:] not in text
    others = {ring(file).add(f"n{n}", {}) for n in range(5)}
    assert len(others) == 5
    assert {len(one) for one in others} == {67}


def test_adding_a_key_appends_it_and_changes_no_other_line(file: Path) -> None:
    ring(file).add("new", {"lab": "acme", "tags": ["a", "b"], "expires": "2027-01-31"})
    removed, added = changed_lines(file)
    assert removed == []
    assert added[0] == "new:"
    assert added[2:] == ["  lab: acme", "  tags: [a, b]", "  expires: '2027-01-31'"]
    assert ring(file).names() == ["shop", "batch", "last", "new"]


def test_the_first_key_creates_a_file_that_only_its_owner_can_read(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    assert ring(file).names() == []
    secret = ring(file).add("me", {})
    assert opens(file, secret)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert names(tmp_path) == ["keys.yaml"]


def test_an_edit_keeps_the_owner_and_the_permissions_of_the_file(file: Path) -> None:
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


def test_the_gateway_refuses_a_revoked_key_and_its_name_is_never_used_again(file: Path) -> None:
    assert opens(file, "test")
    assert ring(file).revoke("shop", "me")
    assert not opens(file, "test")
    assert opens(file, "test2")
    removed, added = changed_lines(file)
    assert (removed, added) == ([], ["  revoked: '2026-11-24T12:00:00Z'"])
    assert not ring(file, NOW + 60).revoke("shop", "me")
    assert "12:00:00Z" in file.read_text(), "the first time counts"
    with pytest.raises(KeyChangeError, match="It is revoked, and its name cannot be used again"):
        ring(file).add("shop", {})
    with pytest.raises(KeyChangeError, match="was revoked: add another"):
        ring(file).rotate("shop", 60, "me")


def test_comments_stay_with_their_keys(file: Path) -> None:
    """A comment after the last line of a key belongs to the next key."""
    ring(file).revoke("shop", "me")
    ring(file).rotate("last", 60, "me")
    text = file.read_text()
    assert "a08\n\n# By night.\nbatch:" in text
    assert "      every: month\n# The end.\n" in text
    assert "shop:   # the web shop\n" in text


@pytest.mark.parametrize("name", ["shop", "batch", "last"])
def test_after_a_rotation_the_old_secret_works_for_the_given_time(file: Path, name: str) -> None:
    old = {"shop": "test", "batch": "test2", "last": "test3"}[name]
    new = turned(file, name, 3600)
    for now, old_opens in ((NOW, True), (NOW + 3599, True), (NOW + 3600, False)):
        assert (opens(file, old, now), opens(file, new, now)) == (old_opens, True)
    removed, _ = changed_lines(file)
    assert all("sha256" in line for line in removed)


def test_a_key_can_be_rotated_again_before_the_first_secret_ends(file: Path) -> None:
    """The edit also removes secrets that have expired."""
    second = turned(file, "last", 3600)
    third = turned(file, "last", 60, NOW + 60)
    assert [opens(file, secret, NOW + 61) for secret in ("test3", second, third)] == [
        True,
        True,
        True,
    ]
    assert [opens(file, secret, NOW + 121) for secret in ("test3", second, third)] == [
        True,
        False,
        True,
    ]
    fourth = turned(file, "last", 60, NOW + 7200)
    assert len(ring(file).get("last").settings["earlier"]) == 1
    assert [opens(file, secret, NOW + 7201) for secret in (second, third, fourth)] == [
        False,
        True,
        True,
    ]


def test_a_rotation_without_overlap_ends_all_earlier_secrets_at_once(file: Path) -> None:
    second = turned(file, "shop", 3600)
    third = turned(file, "shop", 0)
    assert [opens(file, secret) for secret in ("test", second, third)] == [
        False,
        False,
        True,
    ]
    assert "earlier" not in file.read_text()


def test_an_expired_key_cannot_be_rotated(file: Path) -> None:
    ring(file).add("old", {"expires": "2026-11-23"})
    with pytest.raises(KeyChangeError, match=r"expired on 2026-11-23\. Change its `expires` in"):
        ring(file).rotate("old", 60, "me")


ACTS: dict[str, Callable[[Ring], object]] = {
    "revoke": lambda one: one.revoke("shopp", "me"),
    "rotate": lambda one: one.rotate("shopp", 60, "me"),
    "add": lambda one: one.add("shop", {}),
    "a tier": lambda one: one.add("new", {"tiers": ["slow"]}),
    "a setting": lambda one: one.add("new", {"lob": "acme"}),
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_a_refused_edit_leaves_the_file_as_it_is(file: Path, act: Callable[[Ring], object]) -> None:
    before = file.stat()
    with pytest.raises(KeyChangeError) as caught:
        act(ring(file))
    assert any(word in str(caught.value) for word in ("shop", "no tier 'slow'", "'lob'"))
    assert file.read_text() == HAND
    assert file.stat().st_ino == before.st_ino
    assert names(file.parent) == ["keys.yaml"]


def test_a_refused_edit_creates_no_file(tmp_path: Path) -> None:
    with pytest.raises(KeyChangeError, match="no key 'me'"):
        ring(tmp_path / "keys.yaml").revoke("me", "me")
    assert names(tmp_path) == []


BY_HAND = [
    (f"'12': &k {{sha256: {'a' * 64}}}\nb: *k\n", "has the same secret"),
    (f"12: {{sha256: {'a' * 64}}}\n", "change it by hand"),
    ("- a\n", "must map names to keys"),
    ("a: [\n", "not valid YAML"),
    ("a: {}\n", "a.sha256: field required"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "words"), BY_HAND)
def test_an_edit_leaves_a_file_alone_that_it_cannot_change_safely(
    file: Path, text: str, words: str
) -> None:
    """A file with a mistake is left alone too: its author must mend it."""
    file.write_text(text)
    with pytest.raises((KeyFileError, ConfigError)) as caught:
        ring(file).revoke("12", "me")
    assert words in str(caught.value)
    assert file.read_text() == text


def test_an_edit_refuses_a_file_that_is_not_utf_8(file: Path) -> None:
    file.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        ring(file).revoke("shop", "me")


def test_an_edit_that_would_lose_a_comment_is_refused(file: Path) -> None:
    """The edit is refused if it would replace lines around the comment: a person must decide."""
    earlier = f"  earlier:\n  # leaked\n  - sha256: {'a' * 64}\n    until: 2026-01-31\n    # once\n"
    text = HAND.replace("  budgets", f"{earlier}  budgets")
    file.write_text(text)
    with pytest.raises(KeyFileError, match="by hand"):
        ring(file).rotate("last", 0, "me")
    assert file.read_text() == text


def test_a_full_disk_leaves_the_file_unchanged(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        ring(file).revoke("shop", "me")
    assert file.read_text() == HAND
    assert names(file.parent) == ["keys.yaml"]


def _add(path: str, worker: int) -> None:
    for n in range(10):
        ring(Path(path)).add(f"w{worker}-{n}", {})


def test_concurrent_edits_lose_no_key(tmp_path: Path) -> None:
    """All processes race to create the file with the first key."""
    file = tmp_path / "keys.yaml"
    fork = multiprocessing.get_context("spawn")
    started = [fork.Process(target=_add, args=(str(file), n)) for n in range(3)]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
    assert [process.exitcode for process in started] == [0, 0, 0]
    assert sorted(ring(file).names()) == sorted(f"w{w}-{n}" for w in range(3) for n in range(10))
    assert names(tmp_path) == ["keys.yaml"]


@pytest.mark.parametrize("deleted", [False, True])
def test_an_edit_reopens_a_file_that_was_replaced_while_it_waited_for_the_lock(
    file: Path, monkeypatch: pytest.MonkeyPatch, deleted: bool
) -> None:
    """The lock of a file that was replaced guards nothing."""
    real = fcntl.flock

    def late(descriptor: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", real)
        if deleted:
            file.unlink()
        else:
            ring(file).add("theirs", {})
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    ring(file).add("ours", {})
    assert ring(file).names()[-2:] == (["ours"] if deleted else ["theirs", "ours"])


def test_the_gateway_creates_a_first_key_only_if_there_is_none(tmp_path: Path) -> None:
    """The gateway makes one first key, even after a revocation or if two processes race."""
    file = tmp_path / "keys.yaml"
    secret = ring(file).create_first("first", "me")
    assert secret is not None
    assert opens(file, secret)
    assert ring(file).create_first("first", "me") is None
    ring(file).revoke("first", "me")
    assert ring(file).create_first("first", "me") is None
    assert not opens(file, secret)


def test_of_two_processes_only_one_creates_the_first_key(file: Path) -> None:
    """A file that another process fills between the two steps keeps its content."""
    admin = ring(file)
    key_file = admin.store
    assert isinstance(key_file, KeyFile)
    key_file.read = dict  # type: ignore[method-assign]  # as if the file were empty still
    assert admin.create_first("shop", "me") is None
    assert file.read_text() == HAND


def test_a_change_is_in_the_audit_before_the_file_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its row nothing changes; a change that fails after its row has another one."""

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    file, audit = tmp_path / "keys.yaml", AuditLog(tmp_path / "data")
    admin = KeyAdmin(KeyFile(file, audit), clock=lambda: NOW)
    admin.create("early", {}, "ann")
    assert not audit.file.parent.exists(), "no gateway has run here"
    audit.file.mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        admin.create("web", {}, "ann")
    audit.file.rmdir()
    admin.create("web", {}, "ann")
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="space"):
        admin.revoke("web", "bob")
    assert [(row.act, row.who, row.error) for row in audit.iter_rows(AuditQuery(), 9)] == [
        ("key.revoke", "bob", "OSError"),
        ("key.revoke", "bob", None),
        ("key.create", "ann", None),
    ]
