"""What a command works on: the environment and the configuration, read when first asked for."""

import functools
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from gateway.core.call import Key
from gateway.limits import keys
from gateway.runtime.build import BuiltConfig, adopt, data_folder, site, store_url
from gateway.runtime.tenant_classifiers import TenantClassifiers
from gateway.settings import environment
from gateway.settings.environment import find
from gateway.settings.file_snapshot import FileSnapshot
from gateway.settings.loader import CandidateRules, ConfigSource, load


class LedgerLocation(msgspec.Struct, frozen=True):
    """Where the ledger of a configuration lies."""

    store: str
    """A URL."""
    journal_folder: Path
    content_folder: Path
    time_zone: str


class CommandSession:
    """One run of the command line. Calling it gives the ledger's places."""

    def __init__(self, config: str | None = None) -> None:
        self.asked = config
        """The configuration that was named; read when first needed."""

        self.rules: CandidateRules | None = None
        """Rules in place of those that are written."""
        self.reads = FileSnapshot()
        """What it was read from."""

    @functools.cached_property
    def environ(self) -> Mapping[str, str]:
        """The environment, with what a `.env` beside it says."""
        return _environ(self.reads)

    @functools.cached_property
    def source(self) -> ConfigSource:
        """The configuration as written. Raises ConfigError."""
        return load(find(self.asked, self.environ), self.environ, self.reads, self.rules)

    @functools.cached_property
    def site(self) -> BuiltConfig:
        """The configuration, checked and built. Raises ConfigError."""
        found, owned = (
            site(self.source, datetime.now(UTC)),
            TenantClassifiers(data_folder(self.environ)),
        )
        owned.refresh()
        adopt(found, owned)
        return found

    def key_table(self) -> keys.KeyTable:
        """Read the keys of clients as a gateway does. Raises ConfigError."""
        folder, extra = self.source.file.parent, self.environ.get("TIERGATE_KEYS", "")
        return keys.load(self.source.config.keys, folder, extra)

    def keys(self) -> dict[str, Key]:
        """Return the keys of clients by name. Raises ConfigError."""
        return {key.name: key for key in self.key_table().known()}

    def again(self, reads: FileSnapshot) -> BuiltConfig:
        """The configuration as it is written now, checked and built. Raises ConfigError.

        `reads` is told of each file that is read; a `.env` may have changed too.
        """
        environ = _environ(reads)
        return site(load(find(self.asked, environ), environ, reads), datetime.now(UTC))

    def __call__(self) -> LedgerLocation:
        """The ledger's places."""
        ledger, data = self.source.config.ledger, data_folder(self.environ)
        return LedgerLocation(
            store=store_url(ledger.store, data),
            journal_folder=data / ledger.journal,
            content_folder=data / "content",
            time_zone=ledger.time_zone,
        )


def _environ(reads: FileSnapshot) -> Mapping[str, str]:
    here = Path.cwd()
    reads.note(here / ".env")
    return environment.read(here, os.environ)


pass_session = click.make_pass_decorator(CommandSession)
