"""Checks of the gateway's surroundings: Redis, disks, secrets, open files, keys and providers."""

import os
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Literal

import msgspec

from gateway.cli.session import CommandSession
from gateway.core.ledger_rows import DamagedRow
from gateway.core.target import Provider
from gateway.ledger import sqlite_damage
from gateway.ledger.errors import (
    LedgerError,
    StoreDamagedError,
    StoreError,
    StoreRebuildingError,
)
from gateway.ledger.sinks.base import LedgerSink
from gateway.ledger.sinks.open_sink import open_sink
from gateway.ledger.store import count_damaged_rows, open_store
from gateway.limits.key_store.store import is_database
from gateway.limits.startup_check import find_unshared_limits
from gateway.pipeline.otlp import make_log_sink
from gateway.settings.data_folder import SQLITE_SCHEME, find_data_folder, resolve_store_url
from gateway.settings.errors import Mistake
from gateway.state.redis.url import parse_url
from gateway.telemetry import process
from gateway.telemetry.tracing import TraceError

type Level = Literal["ok", "warning", "error"]

_OTHERS_READ, _OTHERS_WRITE = 0o044, 0o022
_LOW_FREE_BYTES, _FULL_FREE_BYTES = 1_000_000_000, 100_000_000
"""Free bytes below which a disk is nearly full, and below which it is as good as full."""
_VOLATILE_FILE_SYSTEMS = {
    "tmpfs": "memory",
    "ramfs": "memory",
    "overlay": "a container's own layer",
}
"""Kinds of file systems whose files are gone with the machine or the container."""
_FILES_PER_CALL = 2
"""Open files of a call in flight: the connections of its client and its provider."""
_BASE_FILES = 128
"""Open files of a process beside its calls."""
_MIN_SECRET_CHARS = 16
"""Minimum characters of a secret. Somebody may guess a shorter one."""
_VARIABLE_PATTERN = re.compile(r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]+\b")
_LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")


class DoctorFinding(msgspec.Struct, frozen=True):
    """The result of one check."""

    level: Level
    what: str
    message: str
    hint: str = ""
    where: str = ""
    """The variable, file or configuration key that the finding is about."""
    fix: str = ""
    """A shell command that mends it, or that shows its cause; empty if there is none."""


def check_environment(
    session: CommandSession, wall_clock: Callable[[], float] = time.time
) -> Iterator[DoctorFinding]:
    """Run all checks for a configuration, in order. Raises ConfigError."""
    yield from _check_redis(session, wall_clock)
    for check in (
        _check_workers,
        _check_data_folder,
        _check_store,
        _check_sinks,
        _check_secret,
        _check_open_files,
        _check_keys,
        _check_providers,
    ):
        yield from check(session)


def _check_redis(
    session: CommandSession, wall_clock: Callable[[], float]
) -> Iterator[DoctorFinding]:
    url = session.environ.get("REDIS_URL")
    if not url:
        yield DoctorFinding(
            "ok", "redis", "REDIS_URL is not set: this process shares no state with others"
        )
        return
    from gateway.state.redis.diagnostics import examine  # noqa: PLC0415 - slow to import

    verify = session.source.config.redis.verify
    diagnosis = examine(
        url, has_counters=session.has_counters(), deadline=2.0, wall=wall_clock, verify=verify
    )
    near_cache_mistakes = (
        diagnosis.near_mistakes if session.source.config.cache.near is not None else ()
    )
    for mistake in _convert_mistakes("redis", [*diagnosis.mistakes, *near_cache_mistakes]):
        finding = msgspec.structs.replace(
            mistake, where="REDIS_URL", fix=_suggest_redis_fix(mistake)
        )
        yield finding if diagnosis.summary else msgspec.structs.replace(finding, level="error")
    if diagnosis.summary and not (diagnosis.mistakes or near_cache_mistakes):
        yield DoctorFinding("ok", "redis", diagnosis.summary)
    store = session.source.config.ledger.store
    if _is_remote(url) and store.startswith("sqlite:") and session.has_counters():
        yield DoctorFinding(
            "warning",
            "redis",
            "Redis is on another machine, and the ledger's store is on this one: if Redis "
            "loses a counter, this gateway does not know what others spent.",
            "If several machines share budgets, give them one PostgreSQL store too.",
            where="ledger.store",
            fix="export TIERGATE_LEDGER__STORE=postgresql://USER@HOST/DATABASE",
        )


def _suggest_redis_fix(finding: DoctorFinding) -> str:
    """Return a command that mends a Redis, or that shows its reply."""
    redis_command = 'redis-cli -u "$REDIS_URL"'
    if "volatile-lru" in finding.hint:
        return f"{redis_command} config set maxmemory-policy volatile-lru"
    if "appendonly" in finding.hint:
        return f"{redis_command} config set appendonly yes"
    return f"{redis_command} ping"


def _check_workers(session: CommandSession) -> Iterator[DoctorFinding]:
    count, environ = session.source.config.server.workers, session.environ
    mistakes = find_unshared_limits(
        session.source, session.load_key_table().list_keys(), count, environ
    )
    for finding in _convert_mistakes("workers", mistakes):
        yield msgspec.structs.replace(
            finding, where="server.workers", fix="tiergate serve --workers 1"
        )
    if mistakes:
        return
    cache_note = "" if count == 1 or environ.get("REDIS_URL") else ", each with a cache of its own"
    yield DoctorFinding("ok", "workers", f"{count}{cache_note}")


def _check_data_folder(session: CommandSession) -> Iterator[DoctorFinding]:
    folder = find_data_folder(session.environ).absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    hint = "Set another folder with TIERGATE_DATA."
    usage_command = f"du -sh {quote(str(existing))}/*"
    move_command = "export TIERGATE_DATA=/var/lib/tiergate"
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        message = f"{existing} cannot be written."
        yield DoctorFinding("error", "data", message, hint, where=str(folder), fix=move_command)
        return
    free, (mount, kind) = shutil.disk_usage(existing).free, _find_mount(existing)
    summary = f"{folder}, {free / 1e9:.1f} GB free on {mount} ({kind})"
    if free < _FULL_FREE_BYTES:
        message = f"{summary}: a full disk refuses all calls."
        yield DoctorFinding(
            "error", "data", message, "Make room.", where=str(folder), fix=usage_command
        )
    elif free < _LOW_FREE_BYTES:
        message = f"{summary}: it is nearly full."
        yield DoctorFinding(
            "warning", "data", message, "Make room.", where=str(folder), fix=usage_command
        )
    elif kind in _VOLATILE_FILE_SYSTEMS:
        message = f"{summary}: {_VOLATILE_FILE_SYSTEMS[kind]}, and the ledger disappears with it."
        hint = "Mount a volume there."
        yield DoctorFinding("warning", "data", message, hint, where=str(folder), fix=move_command)
    else:
        yield DoctorFinding("ok", "data", summary)


def _check_store(session: CommandSession) -> Iterator[DoctorFinding]:
    data_root, setting = find_data_folder(session.environ), session.source.config.ledger.store
    url = resolve_store_url(setting, data_root)
    file = Path(url.removeprefix(SQLITE_SCHEME)) if url.startswith(SQLITE_SCHEME) else None
    if file is not None:
        yield from _report_damaged_files(file)
    if file is not None and not file.exists():
        yield DoctorFinding("ok", "ledger", f"the first start creates {file}")
        return
    try:
        missing_until, damages = _read_gaps(url, file)
    except StoreRebuildingError as error:
        hint = "Calls continue meanwhile."
        fix = f"ls -l {quote(str(file))}"
        yield DoctorFinding("warning", "ledger", f"{error}", hint, where="ledger.store", fix=fix)
        return
    except StoreDamagedError as error:
        hint = "It is a copy of the journals: move it away, and a gateway rebuilds it."
        fix = f"mv {quote(str(file))} {quote(f'{file}.old')}"
        yield DoctorFinding("error", "ledger", f"{error}", hint, where="ledger.store", fix=fix)
        return
    except (StoreError, sqlite3.Error) as error:
        hint = "Calls continue, and their rows wait in the journal; costs are not available."
        fix = f"ls -l {quote(str(file))}" if file is not None else "tiergate check"
        yield DoctorFinding("error", "ledger", f"{error}", hint, where="ledger.store", fix=fix)
        return
    if missing_until is not None:
        missing_date = datetime.fromtimestamp(missing_until, UTC).isoformat(timespec="seconds")
        message = f"The rebuilt store lacks rows of calls before {missing_date}."
        hint = "A budget whose window began earlier refuses calls if its counter is lost."
        sql = "UPDATE rebuilds SET missing_until = NULL"
        fix = f"sqlite3 {quote(str(file))} {quote(sql)}  # budgets begin without these rows"
        yield DoctorFinding(
            "warning", "ledger", message, hint, where="ledger.keep_journal", fix=fix
        )
    if damages:
        count = count_damaged_rows(damages)
        subject = "1 row of the journal is" if count == 1 else f"{count} rows of the journal are"
        until = datetime.fromtimestamp(max(row.until for row in damages), UTC)
        message = f"{subject} damaged or missing, written until {until:%Y-%m-%d %H:%M:%S} UTC."
        hint = "Sums may lack their calls. Check the disk, and restore the file from a backup."
        fix = "tiergate ledger verify"
        yield DoctorFinding("warning", "ledger", message, hint, where="ledger.journal", fix=fix)
    yield DoctorFinding("ok", "ledger", f"{file or 'PostgreSQL'} answers queries")


def _check_sinks(session: CommandSession) -> Iterator[DoctorFinding]:
    config = session.source.config
    for name, url in config.ledger.sinks.items():
        yield _check_sink(f"the sink {name}", f"ledger.sinks.{name}", partial(open_sink, name, url))
    if config.otlp.endpoint and "logs" in config.otlp.signals:
        yield _check_sink(
            "the receiver of logs",
            "otlp.endpoint",
            lambda: make_log_sink(config.otlp, version="", addresses={}),
        )


def _check_sink(description: str, where: str, open_it: Callable[[], LedgerSink]) -> DoctorFinding:
    try:
        sink = open_it()
        try:
            sink.check()
        finally:
            sink.close()
    except (OSError, LedgerError, TraceError) as error:
        hint = "Calls continue, and their rows wait in the journal for it."
        message = f"{description.capitalize()} takes no rows: {f'{error}'.removesuffix('.')}."
        return DoctorFinding("error", "ledger", message, hint, where=where, fix="tiergate check")
    return DoctorFinding("ok", "ledger", f"{description} takes rows")


def _read_gaps(url: str, file: Path | None) -> tuple[float | None, list[DamagedRow]]:
    """Return the time before which rows may be missing, or None, and gaps in the journals.

    Raises StoreError and sqlite3.Error.
    """
    damage = "" if file is None else sqlite_damage.examine(file)
    if damage:
        raise StoreDamagedError(f"{file}: {damage}")
    store = open_store(url)
    try:
        return store.read_missing_until(), store.read_damages()
    finally:
        store.close()


def _report_damaged_files(file: Path) -> Iterator[DoctorFinding]:
    """Report the damaged files that a gateway has set aside."""
    for damaged_file in sqlite_damage.list_aside_files(file):
        message = (
            f"{damaged_file} is a damaged store that the gateway moved aside; it has "
            f"rebuilt {file.name}."
        )
        hint = "Check the disk, and delete the damaged file when you no longer need it."
        fix = f"rm {quote(str(damaged_file))}*"
        yield DoctorFinding("warning", "ledger", message, hint, where=str(damaged_file), fix=fix)


def _check_secret(session: CommandSession) -> Iterator[DoctorFinding]:
    secret = session.environ.get("TIERGATE_SECRET", "").split(",")[0].strip()
    file = find_data_folder(session.environ) / "secret"
    if secret:
        if len(secret) < _MIN_SECRET_CHARS:
            hint = "Generate one with `openssl rand -hex 32`."
            fix = 'export TIERGATE_SECRET="$(openssl rand -hex 32)"'
            message = "TIERGATE_SECRET is short."
            yield DoctorFinding(
                "warning", "secret", message, hint, where="TIERGATE_SECRET", fix=fix
            )
        else:
            yield DoctorFinding("ok", "secret", "TIERGATE_SECRET is set")
        return
    if _is_remote(session.environ.get("REDIS_URL", "")):
        message = "TIERGATE_SECRET is not set, and Redis is on another machine."
        hint = (
            "Set the same secret on all machines: without it each finds only its own "
            "cached answers."
        )
        fix = f'export TIERGATE_SECRET="$(cat {quote(str(file))})"'
        yield DoctorFinding("warning", "secret", message, hint, where="TIERGATE_SECRET", fix=fix)
    if not file.exists():
        yield DoctorFinding("ok", "secret", f"the first start creates {file}")
    elif mode := file.stat().st_mode & (_OTHERS_READ | _OTHERS_WRITE):
        yield DoctorFinding(
            "error",
            "secret",
            f"other users may read or change {file} ({mode:03o}).",
            where=str(file),
            fix=f"chmod 600 {quote(str(file))}",
        )
    else:
        yield DoctorFinding("ok", "secret", f"only the owner can read {file}")


def _check_open_files(session: CommandSession) -> Iterator[DoctorFinding]:
    in_flight, limit = session.source.config.server.in_flight, process.raise_file_limit()
    needed_count = in_flight * _FILES_PER_CALL + _BASE_FILES
    if limit is None:
        yield DoctorFinding("ok", "files", "this system sets no limit that doctor can read")
    elif limit < needed_count:
        message = (
            f"the process may open {limit} files, and server.in_flight: {in_flight} "
            f"needs {needed_count}."
        )
        hint = "Raise the limit (ulimit -n, LimitNOFILE=), or lower server.in_flight."
        fix = f"ulimit -n {needed_count}"
        yield DoctorFinding("warning", "files", message, hint, where="server.in_flight", fix=fix)
    else:
        yield DoctorFinding(
            "ok", "files", f"the process may open {limit} files, and needs {needed_count}"
        )


def _check_keys(session: CommandSession) -> Iterator[DoctorFinding]:
    setting, environ = session.source.config.keys.store, session.environ
    count = len(session.load_key_table().list_keys())
    if setting == "open" and not environ.get("TIERGATE_KEYS"):
        yield DoctorFinding("ok", "keys", "open: every client that reaches the gateway may call")
        return
    if is_database(setting):
        if (key_database := session.load_key_table().database) and key_database.failure:
            hint = "Start the database before keys.stale is over."
            yield DoctorFinding("warning", "keys", f"{key_database.failure}.", hint, where="keys")
            return
    elif setting != "open":
        file = session.source.file.parent / setting
        mode, fix = file.stat().st_mode, f"chmod 600 {quote(str(file))}"
        if mode & _OTHERS_WRITE:
            message = (
                f"other users may change {file} ({mode & 0o777:03o}): they could add "
                "keys or raise budgets."
            )
            yield DoctorFinding("error", "keys", message, where=str(file), fix=fix)
            return
        if mode & _OTHERS_READ:
            message = (
                f"other users may read {file} ({mode & 0o777:03o}): it has hashes, no secrets."
            )
            yield DoctorFinding("warning", "keys", message, where=str(file), fix=fix)
            return
    yield DoctorFinding("ok", "keys", f"{count} known")


def _check_providers(session: CommandSession) -> Iterator[DoctorFinding]:
    """Check the providers of labs that are on. A lab may be off, unless it is the default lab."""
    labs = session.built_config.built_catalogue.catalogue.labs
    for name, lab in labs.items():
        if not lab.enabled and name == session.source.config.default.lab:
            message = f"the default lab {name} is off: {lab.disabled_reason}."
            hint = "Tier names without a lab go to the first lab that is on."
            yield DoctorFinding(
                "warning",
                "labs",
                message,
                hint,
                where="default.lab",
                fix=_suggest_export(lab.disabled_reason),
            )
    enabled_labs = {name: lab for name, lab in labs.items() if lab.enabled}
    if not enabled_labs:
        hint = "Set the credential of one: `tiergate check` names them."
        message = "no lab is on: the gateway cannot serve calls."
        fix = _suggest_export(*(item.disabled_reason for item in labs.values()))
        yield DoctorFinding("error", "labs", message, hint, where="labs", fix=fix)
        return
    disabled_note = (
        f", {len(labs) - len(enabled_labs)} off (`tiergate check` says why)"
        if len(enabled_labs) < len(labs)
        else ""
    )
    yield DoctorFinding("ok", "labs", f"{', '.join(enabled_labs)}{disabled_note}")
    providers = {
        target.provider.name: target.provider
        for lab in enabled_labs.values()
        for targets in lab.tiers.values()
        for target in targets
    }
    for name, provider in providers.items():
        if not provider.enabled:
            message, setting = f"{name} is off: {provider.disabled_reason}.", f"providers.{name}"
            fix = _suggest_export(provider.disabled_reason)
            yield DoctorFinding("warning", "providers", message, where=setting, fix=fix)
    descriptions = [
        f"{name} {_format_accounts(item)}" for name, item in providers.items() if item.enabled
    ]
    yield DoctorFinding("ok", "providers", ", ".join(descriptions))


def _suggest_export(*reasons: str) -> str:
    """Return a command that sets the first variable that the reasons name."""
    first_match = next(
        (match for reason in reasons if (match := _VARIABLE_PATTERN.search(reason)) is not None),
        None,
    )
    return f"export {first_match[0]}=..." if first_match is not None else "tiergate check"


def _format_accounts(provider: Provider) -> str:
    if provider.cloud_auth is not None:
        return "by the gateway's own identity"
    count = len(provider.accounts)
    return "without an account" if not count else f"{count} account{'s' if count > 1 else ''}"


def _convert_mistakes(subject: str, mistakes: list[Mistake]) -> Iterator[DoctorFinding]:
    for mistake in mistakes:
        message = f"{mistake.path}: {mistake.message}" if mistake.path else mistake.message
        yield DoctorFinding(mistake.level, subject, message, mistake.hint, where=mistake.path)


def _is_remote(url: str) -> bool:
    """Return True if a Redis is on another machine."""
    try:
        return any(host not in _LOOPBACK_HOSTS for host, _ in parse_url(url).hosts)
    except ValueError:
        return False


def _find_mount(path: Path) -> tuple[str, str]:
    """Find where the file system of a path is mounted, and its kind."""
    best_match = ("/", "")
    try:
        lines = Path("/proc/self/mounts").read_text("utf-8", "replace").splitlines()
    except OSError:
        return best_match
    for line in lines:
        _, mount, kind, *_ = line.split(" ")
        if path.is_relative_to(mount) and len(mount) >= len(best_match[0]):
            best_match = (mount, kind)
    return best_match
