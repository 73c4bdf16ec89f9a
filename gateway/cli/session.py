"""The environment and the configuration of a command, read when it first needs them."""

import contextlib
import functools
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from gateway.core.call import Key
from gateway.settings import environment
from gateway.settings.data_folder import find_data_folder, resolve_store_url
from gateway.settings.environment import find_config_file
from gateway.settings.file_snapshot import FileSnapshot
from gateway.settings.loader import CandidateRules, ConfigSource, load

if TYPE_CHECKING:  # slow to import, and not every command needs them
    from gateway.limits.keys import KeyTable
    from gateway.runtime.build import BuiltConfig


class LedgerLocation(msgspec.Struct, frozen=True):
    """The places of a configuration's ledger."""

    store: str
    """The URL of the store."""
    journal_folder: Path
    content_folder: Path
    time_zone: str
    sinks: Mapping[str, str] = {}
    """The URL of each sink, by its name."""


class CommandSession:
    """One run of the command line. A call of the session returns the places of the ledger."""

    def __init__(self, config: str | None = None) -> None:
        self.config_path = config
        """The path of the configuration, if the command line names one."""

        self.candidate_rules: CandidateRules | None = None
        """Rules that replace those of the configuration."""
        self.snapshot = FileSnapshot()
        """The files that the configuration was read from."""

    @functools.cached_property
    def environ(self) -> Mapping[str, str]:
        """The environment, with a `.env` in the working folder and the secrets folder."""
        return _read_environ(self.snapshot)

    @functools.cached_property
    def source(self) -> ConfigSource:
        """The configuration as written. Raises ConfigError."""
        return load(
            find_config_file(self.config_path, self.environ),
            self.environ,
            self.snapshot,
            self.candidate_rules,
        )

    @functools.cached_property
    def built_config(self) -> "BuiltConfig":
        """The configuration, checked and built. Raises ConfigError."""
        from gateway.runtime.build import adopt_classifiers, build_config  # noqa: PLC0415
        from gateway.runtime.tenant_classifiers import TenantClassifiers  # noqa: PLC0415

        built = build_config(self.source, datetime.now(UTC))
        classifiers = TenantClassifiers(find_data_folder(self.environ))
        classifiers.refresh()
        adopt_classifiers(built, classifiers)
        return built

    def load_key_table(self) -> "KeyTable":
        """Read the keys of clients as a gateway does. Raises ConfigError."""
        from gateway.limits.key_loading import load_key_table  # noqa: PLC0415

        return load_key_table(self.source, find_data_folder(self.environ), self.environ)

    def has_counters(self) -> bool:
        """True if the gateway counts limits or budgets, also those of keys. Raises ConfigError."""
        config = self.source.config
        return bool(config.limits or config.budgets) or any(
            key.limits or key.budgets for key in self.load_key_table().list_keys()
        )

    def load_keys_by_name(self) -> dict[str, Key]:
        """Return the keys of clients by name. Raises ConfigError."""
        return {key.name: key for key in self.load_key_table().list_keys()}

    def rebuild(self, snapshot: FileSnapshot) -> "BuiltConfig":
        """Read, check and build the configuration as it is written now. Raises ConfigError.

        `snapshot` records each file that is read. The `.env` and the secrets folder are read again
        too.
        """
        from gateway.runtime.build import build_config  # noqa: PLC0415

        environ = _read_environ(snapshot)
        return build_config(
            load(find_config_file(self.config_path, environ), environ, snapshot), datetime.now(UTC)
        )

    def __call__(self) -> LedgerLocation:
        """Return the places of the ledger."""
        ledger, data_root = self.source.config.ledger, find_data_folder(self.environ)
        return LedgerLocation(
            store=resolve_store_url(ledger.store, data_root),
            journal_folder=data_root / ledger.journal,
            content_folder=data_root / "content",
            time_zone=ledger.time_zone,
            sinks=ledger.sinks,
        )


def _read_environ(snapshot: FileSnapshot) -> Mapping[str, str]:
    working_folder = Path.cwd()
    snapshot.record_file(working_folder / ".env")
    if secrets_folder := os.environ.get(environment.SECRETS_FOLDER_VARIABLE):
        _record_secrets(Path(secrets_folder), snapshot)
    return environment.read_environment(working_folder, os.environ)


def _record_secrets(folder: Path, snapshot: FileSnapshot) -> None:
    """Record the files of a secrets folder; a folder that cannot be read has none."""

    def find() -> list[Path]:
        with contextlib.suppress(OSError):
            return environment.list_secret_files(folder)
        return []

    for file in snapshot.find_files(folder, "secrets", find):
        snapshot.record_file(file)


pass_session = click.make_pass_decorator(CommandSession)
