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


class ConfigFolder:
    """A configuration file, and the processes that watch it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "c.yaml"
        self.mailbox = WorkerMailbox()
        self.read_count = 0
        """Number of times that the file was read."""
        self.texts_while_reading: list[str] = []
        """Texts that the file gets while it is being read."""
        self.now = 100.0
        self.write(BASE)
        self.watcher = self.process()

    def process(self) -> ConfigWatcher:
        reads = FileSnapshot()
        return ConfigWatcher(
            self.read(reads), self.read, reads, mailbox=self.mailbox,
            wall=lambda: self.now,
        )  # fmt: skip

    def write(self, text: str) -> None:
        self.file.write_text(text)

    def read(self, reads: FileSnapshot) -> BuiltConfig:
        self.read_count += 1
        loaded = load(self.file, ON, reads)
        if self.texts_while_reading:
            self.write(self.texts_while_reading.pop(0))
        return build_config(loaded, NOW)

    def check(
        self, given_watcher: ConfigWatcher | None = None, times: int = 2
    ) -> ReloadResult | None:
        """Check so many times, and take what the last check has found."""
        watcher, result = given_watcher or self.watcher, None
        for _ in range(times):
            result = watcher.check()
        if result is not None:
            watcher.note_result(result)
        return result

    def model(self, given_watcher: ConfigWatcher | None = None) -> str:
        catalogue = (given_watcher or self.watcher).current.built_config.built_catalogue.catalogue
        return catalogue.labs["acme"].tiers["smart"][0].model


@pytest.fixture
def config_folder(tmp_path: Path) -> ConfigFolder:
    return ConfigFolder(tmp_path)


def test_a_change_is_read_once_it_has_stayed(config_folder: ConfigFolder) -> None:
    """A file that changes between two checks may be half written: a third check decides."""
    assert [config_folder.watcher.check() for _ in range(3)] == [None] * 3
    before = config_folder.watcher.current
    config_folder.now = 107.0
    config_folder.write("version: 1")
    assert config_folder.watcher.check() is None
    config_folder.write(OTHER)
    assert config_folder.watcher.check() is None
    assert config_folder.read_count == 1
    result = config_folder.watcher.check()
    assert result is not None
    assert (result.kind, [str(change) for change in result.changes]) == (
        "taken",
        ["labs.acme.smart[0].model: large -> small"],
    )
    assert config_folder.model() == "large", "it is not in force yet"
    config_folder.watcher.note_result(result)
    assert config_folder.model() == "small"
    assert (
        config_folder.watcher.previous,
        config_folder.watcher.since,
        config_folder.watcher.last_changes,
    ) == (
        before,
        107.0,
        result.changes,
    )
    assert config_folder.check() is None


def test_a_file_with_a_mistake_takes_no_effect_and_the_watcher_says_why(
    config_folder: ConfigFolder,
) -> None:
    """P-06: the last good configuration stays; the bad file is read once, until it changes."""
    before = config_folder.watcher.current
    config_folder.now = 108.0
    config_folder.write(BASE + "serverr: {}\n")
    result = config_folder.check()
    assert result is not None
    assert result.kind == "refused"
    (mistake,) = config_folder.watcher.mistakes
    assert (mistake.line, mistake.path) == (16, "serverr")
    assert (config_folder.watcher.current, config_folder.watcher.mistakes_since) == (before, 108.0)
    assert config_folder.check(times=5) is None
    assert config_folder.read_count == 2
    config_folder.now = 109.0
    assert config_folder.watcher.read().kind == "refused"
    config_folder.watcher.note_result(result)
    assert config_folder.watcher.mistakes_since == 108.0
    config_folder.write(BASE)
    result = config_folder.check()
    assert result is not None
    assert result.kind == "same"
    assert not config_folder.watcher.mistakes
    assert config_folder.watcher.current is before


def test_an_error_while_reading_is_reported_as_a_mistake(
    config_folder: ConfigFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_folder.watcher, "_read", lambda _: 1 / 0)
    result = config_folder.watcher.read()
    assert result.kind == "refused"
    assert str(result.mistakes[0]).startswith("error: cannot be read: ZeroDivisionError at ")


def test_a_file_that_changes_while_it_is_read_is_read_again(config_folder: ConfigFolder) -> None:
    config_folder.write(OTHER)
    config_folder.texts_while_reading = [THIRD]
    result = config_folder.watcher.read()
    assert (result.kind, config_folder.read_count) == ("taken", 3)
    config_folder.watcher.note_result(result)
    assert [str(change) for change in config_folder.watcher.last_changes] == [
        'aliases: {} -> {"x":"auto"}'
    ]


def test_a_file_that_never_stays_the_same_is_left_for_later(config_folder: ConfigFolder) -> None:
    before = config_folder.watcher.current
    config_folder.texts_while_reading = [BASE, OTHER] * 6
    config_folder.write(OTHER)
    result = config_folder.watcher.read()
    assert (result.kind, config_folder.read_count) == ("unsteady", 6)
    config_folder.watcher.note_result(result)
    assert config_folder.watcher.current is before
    config_folder.texts_while_reading = [BASE, OTHER] * 3
    assert config_folder.check() is None
    config_folder.texts_while_reading = []
    config_folder.write(OTHER)
    assert config_folder.check() is not None
    assert config_folder.model() == "small"


def test_a_dry_read_changes_nothing(config_folder: ConfigFolder) -> None:
    config_folder.write(OTHER)
    assert config_folder.watcher.read(dry=True).kind == "taken"
    assert config_folder.model() == "large"
    assert config_folder.check() is not None, "it is still to be read"
    assert config_folder.model() == "small"
    assert config_folder.watcher.prepare_rollback().kind == "taken"
    assert config_folder.model() == "small"


def test_a_rolled_back_file_stays_out_until_it_changes(config_folder: ConfigFolder) -> None:
    config_folder.write(OTHER)
    config_folder.check()
    assert config_folder.model() == "small"
    result = config_folder.watcher.prepare_rollback()
    assert [str(change) for change in result.changes] == [
        "labs.acme.smart[0].model: small -> large"
    ]
    config_folder.watcher.note_result(result)
    assert (config_folder.model(), config_folder.watcher.is_rolled_back) == ("large", True)
    assert config_folder.check(times=4) is None
    (mistake,) = config_folder.watcher.prepare_rollback().mistakes
    assert "no earlier configuration" in mistake.message
    config_folder.write(OTHER + "\n")
    assert config_folder.check() is not None
    assert (config_folder.model(), config_folder.watcher.is_rolled_back) == ("small", False)


def test_the_operator_can_read_a_rolled_back_file_again(config_folder: ConfigFolder) -> None:
    config_folder.write(OTHER)
    config_folder.check()
    config_folder.watcher.note_result(config_folder.watcher.prepare_rollback())
    config_folder.watcher.note_result(config_folder.watcher.read())
    assert config_folder.model() == "small"


def test_settings_that_need_a_restart_keep_their_value_and_are_listed(
    config_folder: ConfigFolder,
) -> None:
    config_folder.write(OTHER + "server: {port: 9}\ncache: {ttl: 9s}\n")
    config_folder.check()
    config = config_folder.watcher.current.built_config.source.config
    assert (config.server.port, config.cache.ttl, config_folder.model()) == (8484, 9.0, "small")
    assert config_folder.watcher.current.source.config.server.port == 9
    assert config_folder.watcher.list_waiting_changes() == ["server.port"]
    config_folder.write(THIRD)
    config_folder.check()
    assert config_folder.watcher.list_waiting_changes() == []


def test_a_configuration_without_a_file_cannot_be_read_again(config_folder: ConfigFolder) -> None:
    watcher = ConfigWatcher(config_folder.watcher.current.built_config)
    config_folder.write(OTHER)
    assert watcher.check() is None
    assert "cannot read it again" in watcher.read().mistakes[0].message
    assert watcher.list_files() == []
    assert config_folder.watcher.list_files() == [str(config_folder.file)]


def test_several_processes_read_and_roll_back_together(config_folder: ConfigFolder) -> None:
    """Workers and their supervisor: the process that is asked tells the others, once."""
    other = config_folder.process()
    config_folder.write(OTHER)
    config_folder.watcher.note_result(config_folder.watcher.read())
    config_folder.watcher.notify_workers()
    assert config_folder.watcher.check() is None, "not to itself"
    result = other.check()
    assert result is not None
    other.note_result(result)
    assert config_folder.model(other) == "small"
    assert other.check() is None
    result = other.prepare_rollback()
    other.notify_workers(is_rollback=True)
    other.note_result(result)
    assert config_folder.check(times=1) is not None
    assert config_folder.model() == config_folder.model(other) == "large"
    assert config_folder.check(times=4) is config_folder.check(other, times=4) is None


def test_a_process_that_is_behind_takes_the_configuration_of_the_others(
    config_folder: ConfigFolder,
) -> None:
    """The file has a mistake by then: all keep the same configuration and know of the mistake."""
    other = config_folder.process()
    config_folder.now = 107.0
    config_folder.write(OTHER)
    config_folder.watcher.note_result(config_folder.watcher.read())
    config_folder.watcher.notify_workers()
    config_folder.write("labs: [\n")
    result = config_folder.check(other, times=1)
    assert result is not None
    assert (result.kind, config_folder.model(other), other.current.version) == (
        "taken", "small", config_folder.watcher.current.version,
    )  # fmt: skip
    assert (len(other.mistakes), other.mistakes_since) == (1, 107.0)
    assert config_folder.check(other, times=4) is None
    config_folder.watcher.notify_workers()
    result = config_folder.check(other, times=1)
    assert result is not None
    assert result.kind == "refused", "it has that version already"


def test_data_of_another_process_is_checked_before_use(
    config_folder: ConfigFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the data is another configuration, unreadable or too long, the current one stays."""
    other = config_folder.process()
    config_folder.write(OTHER)
    config_folder.watcher.note_result(config_folder.watcher.read())
    version = config_folder.watcher.current.version
    snapshot = config_folder.watcher._snapshot.dump()
    config_folder.write("labs: [\n")
    for version_, data in (
        ("1", snapshot),
        (version, b"{"),
        (version, b"{}"),
        (version, bytes(20_000_000)),
    ):
        config_folder.mailbox.post_order(1, version_, data)
        result = config_folder.check(other, times=1)
        assert result is not None
        assert (result.kind, config_folder.model(other)) == ("refused", "large")
    config_folder.mailbox.post_order(1, version, snapshot)
    monkeypatch.setattr(other, "_read", None)
    result = other.check()
    assert result is not None
    assert result.kind == "refused"


def test_a_process_that_was_behind_ignores_a_configuration_that_was_rolled_back(
    config_folder: ConfigFolder,
) -> None:
    other = config_folder.process()
    config_folder.write(OTHER)
    config_folder.watcher.note_result(config_folder.watcher.read())
    result = config_folder.watcher.prepare_rollback()
    config_folder.watcher.notify_workers(is_rollback=True)
    config_folder.watcher.note_result(result)
    assert config_folder.check(other, times=4) is None
    assert config_folder.model(other) == "large"
    config_folder.write(THIRD)
    assert config_folder.check(other) is not None
    # a different text that is written by then is taken
    third = config_folder.process()
    config_folder.write(OTHER)
    config_folder.watcher.note_result(config_folder.watcher.read())
    result = config_folder.watcher.prepare_rollback()
    config_folder.watcher.notify_workers(is_rollback=True)
    config_folder.watcher.note_result(result)
    config_folder.write(BASE + "aliases: {y: auto}\n")
    assert config_folder.check(third, times=1) is not None
    assert list(third.current.built_config.built_catalogue.catalogue.aliases) == ["y"]


def test_a_process_without_a_previous_configuration_does_not_roll_back(
    config_folder: ConfigFolder,
) -> None:
    """The worker started with the configuration that the others leave."""
    config_folder.write(OTHER)
    config_folder.watcher.note_result(config_folder.watcher.read())
    new_process = config_folder.process()
    config_folder.watcher.notify_workers(is_rollback=True)
    assert new_process.check() is None
    assert config_folder.model(new_process) == "small"


def test_a_supervisor_checks_files_each_tenth_time_and_orders_at_once(
    config_folder: ConfigFolder,
) -> None:
    """The supervisor hears at once what others have done, or that all must read."""
    other = config_folder.process()
    config_folder.write(OTHER)
    for _ in range(19):
        config_folder.watcher.run_once(must_read=False)
    assert config_folder.model() == "large"
    config_folder.watcher.run_once(must_read=False)
    assert config_folder.model() == "small"
    other.run_once(must_read=False)
    assert config_folder.model(other) == "small", "whoever finds a change tells the others"
    config_folder.write(BASE)
    config_folder.watcher.run_once(must_read=True)
    other.run_once(must_read=False)
    assert config_folder.model() == config_folder.model(other) == "large"
    config_folder.watcher.run_once(must_read=False)
    assert config_folder.read_count == 6
