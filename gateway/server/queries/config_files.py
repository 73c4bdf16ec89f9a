"""The configuration that a query process builds from its files, to decide as the gateway does."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from gateway.routing.quality_dial import OwnTraffic
from gateway.runtime.build import (
    BuiltConfig,
    adopt_classifiers,
    adopt_own_traffic,
    build_config,
)
from gateway.runtime.tenant_classifiers import TenantClassifiers
from gateway.settings.loader import CandidateRules, load


class ConfigFiles(msgspec.Struct, frozen=True, kw_only=True):
    """The file of a configuration, and all else that a gateway decides by."""

    file: Path
    environ: Mapping[str, str]
    data_folder: Path
    own_traffic: OwnTraffic


def build_from_files(files: ConfigFiles, rules: CandidateRules | None = None) -> BuiltConfig:
    """Return the configuration as written, with other rules if they are given.

    Raises ConfigError.
    """
    built_config = build_config(load(files.file, files.environ, rules=rules), datetime.now(UTC))
    classifiers = TenantClassifiers(files.data_folder)
    classifiers.refresh()
    adopt_classifiers(built_config, classifiers)
    adopt_own_traffic(built_config, files.own_traffic)
    return built_config
