"""A replay of recorded calls under edited rules. It changes nothing."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

import msgspec

from gateway.core.call import Key
from gateway.core.errors import invalid_request
from gateway.ledger import transcripts
from gateway.ledger.query_params import LedgerQuery
from gateway.ledger.store import LedgerStore
from gateway.runtime.build import list_findings
from gateway.server.queries.config_files import ConfigFiles, build_from_files
from gateway.settings import yaml
from gateway.settings.errors import ConfigError, Mistake, Path, format_path
from gateway.settings.loader import CandidateRules
from gateway.settings.rule_hints import RULE_SECTIONS

RULES_NAME = "edited rules"
"""The file name of the edited rules in findings."""
MAX_CALLS = 100_000
"""The maximum number of calls in a replay."""


class ReplayQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The rules and the calls of a replay, and what a configuration is built from."""

    files: ConfigFiles
    rules: str
    """The rules as YAML; empty for the rules in the configuration files."""
    query: LedgerQuery
    limit: int
    """The number of changed calls to list."""
    known_values: Collection[str]
    """The texts in the rules in force. Others may not read a variable or a file."""
    content_folder: FilePath
    keys: Sequence[Key]


def replay_calls(store: LedgerStore, replay: ReplayQuery) -> dict[str, Any]:
    """Return `report` and `findings`, or `findings` alone if the rules are wrong.

    Raises ProblemError if there are too many calls.
    """
    # Only a query process imports what evaluates, and only for a replay.
    from gateway.evaluation.replay import report  # noqa: PLC0415
    from gateway.evaluation.replay.replay import build_replay  # noqa: PLC0415

    if mistakes := find_foreign_values(replay.rules, replay.known_values):
        return {"findings": mistakes}
    try:
        rules = CandidateRules(RULES_NAME, replay.rules) if replay.rules else None
        candidate = build_from_files(replay.files, rules)
    except ConfigError as error:
        return {"findings": error.mistakes}
    selection = {**replay.query.selection, "zone": replay.query.time_zone}
    if (count := store.count(**selection)) > MAX_CALLS:
        reason = f"There are {count:,} calls in this range, more than {MAX_CALLS:,}"
        raise invalid_request(f"{reason}: choose a shorter one, or use `tiergate replay`.")
    router = candidate.router
    text_features = transcripts.make_features_reader(replay.content_folder, router.fetched_media)
    walk = build_replay(router, candidate.source.config, text_features, replay.limit)
    for row in store.read_replay_rows(**selection):
        walk.replay_row(row)
    return {
        "report": report.describe_totals(walk.totals, router.catalogue.version),
        "findings": list_findings(candidate, replay.keys),
    }


def find_foreign_values(text: str, known_values: Collection[str]) -> list[Mistake]:
    """Return a mistake for each variable or secret in a text that the current rules do not use."""
    try:
        document = yaml.read(text, RULES_NAME)
    except ConfigError:
        return []  # `load` reports it
    return [
        Mistake(
            file=RULES_NAME,
            line=document.lines.get(path),
            path=format_path(path),
            message="reads a variable or a file that the rules in force do not read.",
            hint="Write the value itself: rules that are sent here cannot read the environment.",
        )
        for path, value in _collect_texts(document.value, ())
        if "${" in value and value not in known_values
    ]


def collect_rule_texts(raw: Mapping[str, Any]) -> frozenset[str]:
    """Return all texts in the rules of a configuration as written."""
    return frozenset(
        value for section in RULE_SECTIONS for _, value in _collect_texts(raw.get(section), ())
    )


def _collect_texts(value: Any, path: Path) -> list[tuple[Path, str]]:
    if isinstance(value, dict):
        return [
            entry for name, item in value.items() for entry in _collect_texts(item, (*path, name))
        ]
    if isinstance(value, list):
        return [
            entry
            for index, item in enumerate(value)
            for entry in _collect_texts(item, (*path, index))
        ]
    return [(path, value)] if isinstance(value, str) else []
