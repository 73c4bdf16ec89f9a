"""A configuration whose files change: when it is read, what is taken, what stays in force."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.runtime.build import BuiltConfig, build_config
from gateway.runtime.reloader import ConfigWatcher, ReloadResult, WorkerMailbox
from gateway.settings.file_snapshot import FileSnapshot
from gateway.settings.loader import load
from tests.settings.world import BASE, ON

NOW = datetime(2026, 11, 24, tzinfo=UTC)
OTHER = BASE.replace("model: large", "model: small")
THIRD = BASE + "aliases: {x: auto}\n"


class Place:
    """A configuration file, and the processes that watch it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "c.yaml"
        self.orders = WorkerMailbox()
        self.times = 0
        """Number of times that the file was read."""
        self.meanwhile: list[str] = []
        """Texts that the file gets while it is being read."""
        self.now = 100.0
        self.write(BASE)
        self.one = self.process()

    def process(self) -> ConfigWatcher:
        reads = FileSnapshot()
        return ConfigWatcher(
            self.read(reads), self.read, reads, mailbox=self.orders,
            wall=lambda: self.now,
        )  # fmt: skip

    def write(self, text: str) -> None:
        self.file.write_text(text)

    def read(self, reads: FileSnapshot) -> BuiltConfig:
        self.times += 1
        found = load(self.file, ON, reads)
        if self.meanwhile:
            self.write(self.meanwhile.pop(0))
        return build_config(found, NOW)

    def looks(self, renewal: ConfigWatcher | None = None, times: int = 2) -> ReloadResult | None:
        """Check so many times, and take what the last check has found."""
        one, found = renewal or self.one, None
        for _ in range(times):
            found = one.check()
        if found is not None:
            one.note_result(found)
        return found

    def model(self, renewal: ConfigWatcher | None = None) -> str:
        catalogue = (renewal or self.one).current.built_config.built_catalogue.catalogue
        return catalogue.labs["acme"].tiers["smart"][0].model


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_change_is_read_once_it_has_stayed(place: Place) -> None:
    """A file that changes between two checks may be half written: a third check decides."""
    assert [place.one.check() for _ in range(3)] == [None] * 3
    before = place.one.current
    place.now = 107.0
    place.write("version: 1")
    assert place.one.check() is None
    place.write(OTHER)
    assert place.one.check() is None
    assert place.times == 1
    found = place.one.check()
    assert found is not None
    assert (found.kind, [str(one) for one in found.changes]) == (
        "taken",
        ["labs.acme.smart[0].model: large -> small"],
    )
    assert place.model() == "large", "it is not in force yet"
    place.one.note_result(found)
    assert place.model() == "small"
    assert (place.one.previous, place.one.since, place.one.last_changes) == (
        before,
        107.0,
        found.changes,
    )
    assert place.looks() is None


def test_what_has_a_mistake_does_not_hold_and_says_why(place: Place) -> None:
    """P-06: the last good configuration stays; the bad file is read once, until it changes."""
    before = place.one.current
    place.now = 108.0
    place.write(BASE + "serverr: {}\n")
    found = place.looks()
    assert found is not None
    assert found.kind == "refused"
    (mistake,) = place.one.mistakes
    assert (mistake.line, mistake.path) == (16, "serverr")
    assert (place.one.current, place.one.mistakes_since) == (before, 108.0)
    assert place.looks(times=5) is None
    assert place.times == 2
    place.now = 109.0
    assert place.one.read().kind == "refused"
    place.one.note_result(found)
    assert place.one.mistakes_since == 108.0
    place.write(BASE)
    found = place.looks()
    assert found is not None
    assert found.kind == "same"
    assert not place.one.mistakes
    assert place.one.current is before


def test_whatever_reading_does_is_a_mistake(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place.one, "_read", lambda _: 1 / 0)
    found = place.one.read()
    assert found.kind == "refused"
    assert str(found.mistakes[0]).startswith("error: cannot be read: ZeroDivisionError at ")


def test_what_changes_while_it_is_read_is_read_again(place: Place) -> None:
    place.write(OTHER)
    place.meanwhile = [THIRD]
    found = place.one.read()
    assert (found.kind, place.times) == ("taken", 3)
    place.one.note_result(found)
    assert [str(one) for one in place.one.last_changes] == ['aliases: {} -> {"x":"auto"}']


def test_what_never_stays_is_left_for_later(place: Place) -> None:
    before = place.one.current
    place.meanwhile = [BASE, OTHER] * 6
    place.write(OTHER)
    found = place.one.read()
    assert (found.kind, place.times) == ("unsteady", 6)
    place.one.note_result(found)
    assert place.one.current is before
    place.meanwhile = [BASE, OTHER] * 3
    assert place.looks() is None
    place.meanwhile = []
    place.write(OTHER)
    assert place.looks() is not None
    assert place.model() == "small"


def test_to_ask_what_would_be_changes_nothing(place: Place) -> None:
    place.write(OTHER)
    assert place.one.read(dry=True).kind == "taken"
    assert place.model() == "large"
    assert place.looks() is not None, "it is still to be read"
    assert place.model() == "small"
    assert place.one.prepare_rollback().kind == "taken"
    assert place.model() == "small"


def test_what_was_gone_back_from_stays_away_until_it_changes(place: Place) -> None:
    place.write(OTHER)
    place.looks()
    assert place.model() == "small"
    found = place.one.prepare_rollback()
    assert [str(one) for one in found.changes] == ["labs.acme.smart[0].model: small -> large"]
    place.one.note_result(found)
    assert (place.model(), place.one.is_rolled_back) == ("large", True)
    assert place.looks(times=4) is None
    (mistake,) = place.one.prepare_rollback().mistakes
    assert "no earlier configuration" in mistake.message
    place.write(OTHER + "\n")
    assert place.looks() is not None
    assert (place.model(), place.one.is_rolled_back) == ("small", False)


def test_whoever_asks_again_gets_what_is_written(place: Place) -> None:
    place.write(OTHER)
    place.looks()
    place.one.note_result(place.one.prepare_rollback())
    place.one.note_result(place.one.read())
    assert place.model() == "small"


def test_what_needs_a_new_start_stays_and_is_told(place: Place) -> None:
    place.write(OTHER + "server: {port: 9}\ncache: {ttl: 9s}\n")
    place.looks()
    config = place.one.current.built_config.source.config
    assert (config.server.port, config.cache.ttl, place.model()) == (8484, 9.0, "small")
    assert place.one.current.source.config.server.port == 9
    assert place.one.list_waiting_changes() == ["server.port"]
    place.write(THIRD)
    place.looks()
    assert place.one.list_waiting_changes() == []


def test_one_that_was_given_stays(place: Place) -> None:
    given = ConfigWatcher(place.one.current.built_config)
    place.write(OTHER)
    assert given.check() is None
    assert "cannot be read again" in given.read().mistakes[0].message
    assert given.list_files() == []
    assert place.one.list_files() == [str(place.file)]


def test_several_processes_read_and_go_back_together(place: Place) -> None:
    """Workers and their supervisor: the process that is asked tells the others, once."""
    other = place.process()
    place.write(OTHER)
    place.one.note_result(place.one.read())
    place.one.notify_workers()
    assert place.one.check() is None, "not to itself"
    found = other.check()
    assert found is not None
    other.note_result(found)
    assert place.model(other) == "small"
    assert other.check() is None
    found = other.prepare_rollback()
    other.notify_workers(is_rollback=True)
    other.note_result(found)
    assert place.looks(times=1) is not None
    assert place.model() == place.model(other) == "large"
    assert place.looks(times=4) is place.looks(other, times=4) is None


def test_one_that_is_behind_takes_what_others_have_read(place: Place) -> None:
    """The file has a mistake by then: all keep the same configuration and know of the mistake."""
    other = place.process()
    place.now = 107.0
    place.write(OTHER)
    place.one.note_result(place.one.read())
    place.one.notify_workers()
    place.write("labs: [\n")
    found = place.looks(other, times=1)
    assert found is not None
    assert (found.kind, place.model(other), other.current.version) == (
        "taken", "small", place.one.current.version,
    )  # fmt: skip
    assert (len(other.mistakes), other.mistakes_since) == (1, 107.0)
    assert place.looks(other, times=4) is None
    place.one.notify_workers()
    found = place.looks(other, times=1)
    assert found is not None
    assert found.kind == "refused", "it has that version already"


def test_what_others_have_read_is_taken_for_that_alone(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the data is another configuration, unreadable or too long, the current one stays."""
    other = place.process()
    place.write(OTHER)
    place.one.note_result(place.one.read())
    version = place.one.current.version
    read = place.one._snapshot.dump()
    place.write("labs: [\n")
    for version_, data in (
        ("1", read),
        (version, b"{"),
        (version, b"{}"),
        (version, bytes(20_000_000)),
    ):
        place.orders.post_order(1, version_, data)
        found = place.looks(other, times=1)
        assert found is not None
        assert (found.kind, place.model(other)) == ("refused", "large")
    place.orders.post_order(1, version, read)
    monkeypatch.setattr(other, "_read", None)
    found = other.check()
    assert found is not None
    assert found.kind == "refused"


def test_one_that_was_behind_does_not_take_what_others_went_back_from(place: Place) -> None:
    other = place.process()
    place.write(OTHER)
    place.one.note_result(place.one.read())
    found = place.one.prepare_rollback()
    place.one.notify_workers(is_rollback=True)
    place.one.note_result(found)
    assert place.looks(other, times=4) is None
    assert place.model(other) == "large"
    place.write(THIRD)
    assert place.looks(other) is not None
    # a different text that is written by then is taken
    third = place.process()
    place.write(OTHER)
    place.one.note_result(place.one.read())
    found = place.one.prepare_rollback()
    place.one.notify_workers(is_rollback=True)
    place.one.note_result(found)
    place.write(BASE + "aliases: {y: auto}\n")
    assert place.looks(third, times=1) is not None
    assert list(third.current.built_config.built_catalogue.catalogue.aliases) == ["y"]


def test_one_that_has_nothing_to_go_back_to_stays(place: Place) -> None:
    """The worker started with the configuration that the others leave."""
    place.write(OTHER)
    place.one.note_result(place.one.read())
    born = place.process()
    place.one.notify_workers(is_rollback=True)
    assert born.check() is None
    assert place.model(born) == "small"


def test_a_process_without_a_loop_looks_each_tenth_time(place: Place) -> None:
    """The supervisor hears at once what others have done, or that all must read."""
    other = place.process()
    place.write(OTHER)
    for _ in range(19):
        place.one.run_once(must_read=False)
    assert place.model() == "large"
    place.one.run_once(must_read=False)
    assert place.model() == "small"
    other.run_once(must_read=False)
    assert place.model(other) == "small", "whoever finds a change tells the others"
    place.write(BASE)
    place.one.run_once(must_read=True)
    other.run_once(must_read=False)
    assert place.model() == place.model(other) == "large"
    place.one.run_once(must_read=False)
    assert place.times == 6
