"""Files that a configuration was read from, found or named, also if reading failed."""

import os
from pathlib import Path

import pytest

from gateway.settings.errors import ConfigError
from gateway.settings.file_snapshot import FileSnapshot, get_size, is_rereadable, read_state
from gateway.settings.loader import load
from tests.settings.world import BASE, ON, write


def load_with_snapshot(file: Path) -> FileSnapshot:
    reads = FileSnapshot()
    load(file, ON, reads)
    return reads


def test_a_snapshot_knows_all_files_and_if_one_has_changed(tmp_path: Path) -> None:
    write(tmp_path, "default: {lab: acme}\n", "labs/a.yaml")
    secret = write(tmp_path, "sk-1", "secret")
    text = BASE.replace('"${ACME_API_KEY}"', f'"${{file:{secret}}}"')
    file = write(tmp_path, f"{text}include: [labs/*.yaml]\n")
    reads = load_with_snapshot(file)
    assert set(reads.file_states) == {file, tmp_path / "labs" / "a.yaml", secret}
    assert reads.is_unchanged()
    for change in (
        lambda: write(tmp_path, "default: {lab: acme, tier: fast}\n", "labs/a.yaml"),
        lambda: write(tmp_path, "", "labs/b.yaml"),
        lambda: secret.write_text("sk-2"),
        (tmp_path / "labs" / "b.yaml").unlink,
        lambda: os.utime(file, ns=(1, 1)),
        file.unlink,
    ):
        change()
        assert not reads.is_unchanged()
        if file.exists():
            reads = load_with_snapshot(file)
            assert reads.is_unchanged()
    file.write_text(text)
    assert not reads.is_unchanged(), "it is another file"


def test_a_snapshot_includes_files_that_could_not_be_read(tmp_path: Path) -> None:
    """Otherwise nobody would notice that the file has been mended."""
    broken = write(tmp_path, "labs: [\n", "labs/a.yaml")
    file, reads = write(tmp_path, f"{BASE}include: [labs/*.yaml]\n"), FileSnapshot()
    with pytest.raises(ConfigError):
        load(file, ON, reads)
    assert reads.is_unchanged()
    broken.write_text("")
    assert not reads.is_unchanged()
    missing, reads = tmp_path / "none.yaml", FileSnapshot()
    with pytest.raises(ConfigError):
        load(missing, ON, reads)
    assert reads.file_states == {missing: None}
    missing.write_text(BASE)
    assert not reads.is_unchanged()


def test_a_snapshot_notices_a_folder_that_a_link_replaces(tmp_path: Path) -> None:
    """Kubernetes mounts a ConfigMap like this: files lead through `..data`.

    A rename replaces `..data`.
    """
    for name in ("1", "2"):
        write(tmp_path, BASE, f"..{name}/c.yaml")
        os.utime(tmp_path / f"..{name}" / "c.yaml", ns=(1, 1))
    (tmp_path / "..data").symlink_to("..1")
    file = tmp_path / "c.yaml"
    file.symlink_to("..data/c.yaml")
    reads = load_with_snapshot(file)
    assert reads.is_unchanged()
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").rename(tmp_path / "..data")
    assert not reads.is_unchanged()


def test_a_snapshot_can_be_loaded_again_after_the_files_changed(tmp_path: Path) -> None:
    """The snapshot keeps what was read, whatever the files hold by then.

    This includes new files in an included folder.
    """
    write(tmp_path, "default: {lab: acme, tier: fast}\n", "labs/a.yaml")
    file = write(tmp_path, f"{BASE}include: [labs/*.yaml]\n")
    reads = FileSnapshot()
    first = load(file, ON, reads)
    file.write_text("broken: [")
    write(tmp_path, "broken: [", "labs/b.yaml")
    (tmp_path / "labs" / "a.yaml").unlink()
    reloaded = load(file, ON, FileSnapshot(reads.dump()))
    assert reloaded.version == first.version
    assert reloaded.config == first.config
    assert reloaded.locations == first.locations


def test_a_snapshot_keeps_the_first_state_of_a_file(tmp_path: Path) -> None:
    """A change after the first look at a file may not have been read."""
    file, reads = write(tmp_path, BASE), FileSnapshot()
    before = reads.record_file(file)
    file.write_text("version: 1")
    assert reads.record_file(file) == before
    assert not reads.is_unchanged()


def test_a_pipe_cannot_be_read_again(tmp_path: Path) -> None:
    file, pipe = write(tmp_path, BASE), tmp_path / "pipe"
    os.mkfifo(pipe)
    assert [is_rereadable(read_state(path)) for path in (file, tmp_path, tmp_path / "none", pipe)] == [
        True, True, True, False,
    ]  # fmt: skip
    assert (get_size(read_state(file)), get_size(None)) == (len(BASE), 0)
    assert read_state(Path("a\0b")) is None


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    """P-06: the file has a gigabyte, and takes no room on the disk."""
    file = write(tmp_path, BASE)
    os.truncate(file, 1_000_000_000)
    with pytest.raises(ConfigError, match=r"c\.yaml: error: is larger than 16 MB\."):
        load(file, ON)
