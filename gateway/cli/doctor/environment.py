"""What a gateway finds where it runs: Redis, disks, secrets, files, providers. Asks, and tells."""

import os
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import Literal

import msgspec

from gateway.cli.session import CommandSession
from gateway.core.target import Provider
from gateway.ledger import sqlite_damage
from gateway.ledger.errors import (
    StoreDamagedError,
    StoreError,
    StoreRebuildingError,  # fmt: skip
)
from gateway.ledger.sqlite import SCHEME
from gateway.ledger.store import open_store
from gateway.limits.startup_check import apart
from gateway.routing.classifier import native
from gateway.runtime.build import data_folder, store_url
from gateway.settings.errors import Mistake
from gateway.state.redis.diagnostics import examine
from gateway.state.redis.url import read
from gateway.telemetry import process

type Level = Literal["ok", "warning", "error"]

_OTHERS_READ, _OTHERS_WRITE = 0o044, 0o022
_ROOM, _LITTLE = 1_000_000_000, 100_000_000
"""Bytes that a disk should have free, and below which it is as good as full."""
_PASSING = {"tmpfs": "memory", "ramfs": "memory", "overlay": "a container's own layer"}
"""Kinds of file systems that are gone with the machine or the container."""
_FILES_A_CALL = 2
"""Files that a call in flight has open: its client and its provider."""
_FILES = 128
"""Files that a process has open beside calls."""
_SHORT = 16
"""Characters of a secret that somebody may guess."""
_VARIABLE = re.compile(r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]+\b")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class DoctorFinding(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    level: Level
    what: str
    message: str
    hint: str = ""
    where: str = ""
    """The variable, file or key of the configuration that it is about."""
    fix: str = ""
    """A command of a shell that mends it, or that tells why it is so; empty where none does."""


def findings(
    session: CommandSession, wall: Callable[[], float] = time.time
) -> Iterator[DoctorFinding]:
    """All that there is to look at for a configuration, in order. Raises ConfigError."""
    yield from _redis(session, wall)
    for look in (_workers, _data, _store, _secret, _files, _keys, _providers):
        yield from look(session)
    yield _classifier()


def _redis(session: CommandSession, wall: Callable[[], float]) -> Iterator[DoctorFinding]:
    url = session.environ.get("REDIS_URL")
    if not url:
        yield DoctorFinding(
            "ok", "redis", "REDIS_URL is not set: this process keeps all for itself"
        )
        return
    verify = session.source.config.redis.verify
    found = examine(url, counts=_counts(session), deadline=2.0, wall=wall, verify=verify)
    lacking = found.lacking if session.source.config.cache.near is not None else ()
    for one in _told("redis", [*found.mistakes, *lacking]):
        one = msgspec.structs.replace(one, where="REDIS_URL", fix=_redis_fix(one))  # noqa: PLW2901
        yield one if found.about else msgspec.structs.replace(one, level="error")
    if found.about and not (found.mistakes or lacking):
        yield DoctorFinding("ok", "redis", found.about)
    store = session.source.config.ledger.store
    if _far(url) and store.startswith("sqlite:") and _counts(session):
        yield DoctorFinding(
            "warning",
            "redis",
            "it is on another machine, and the ledger's store is on this one: what was spent "
            "elsewhere is not known where Redis loses a counter.",
            "Where several machines share budgets, let them share a PostgreSQL store too.",
            where="ledger.store",
            fix="export TIERGATE_LEDGER__STORE=postgresql://USER@HOST/DATABASE",
        )


def _redis_fix(one: DoctorFinding) -> str:
    """What mends a Redis, or tells what it says."""
    cli = 'redis-cli -u "$REDIS_URL"'
    if "volatile-lru" in one.hint:
        return f"{cli} config set maxmemory-policy volatile-lru"
    if "appendonly" in one.hint:
        return f"{cli} config set appendonly yes"
    return f"{cli} ping"


def _workers(session: CommandSession) -> Iterator[DoctorFinding]:
    count, environ = session.source.config.server.workers, session.environ
    found = apart(session.source, session.key_table().known(), count, environ)
    for one in _told("workers", found):
        yield msgspec.structs.replace(one, where="server.workers", fix="tiergate serve --workers 1")
    if found:
        return
    shares = "" if count == 1 or environ.get("REDIS_URL") else ", each with a cache of its own"
    yield DoctorFinding("ok", "workers", f"{count}{shares}")


def _data(session: CommandSession) -> Iterator[DoctorFinding]:
    folder = data_folder(session.environ).absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    hint = "Give another place with TIERGATE_DATA."
    room, move = f"du -sh {quote(str(there))}/*", "export TIERGATE_DATA=/var/lib/tiergate"
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        message = f"{there} cannot be written."
        yield DoctorFinding("error", "data", message, hint, where=str(folder), fix=move)
        return
    free, (mount, kind) = shutil.disk_usage(there).free, _mounted(there)
    told = f"{folder}, {free / 1e9:.1f} GB free on {mount} ({kind})"
    if free < _LITTLE:
        message = f"{told}: a full disk refuses all calls."
        yield DoctorFinding("error", "data", message, "Make room.", where=str(folder), fix=room)
    elif free < _ROOM:
        message = f"{told}: it is nearly full."
        yield DoctorFinding("warning", "data", message, "Make room.", where=str(folder), fix=room)
    elif kind in _PASSING:
        message = f"{told}: {_PASSING[kind]}, and the ledger is gone with it."
        hint = "Mount a volume there."
        yield DoctorFinding("warning", "data", message, hint, where=str(folder), fix=move)
    else:
        yield DoctorFinding("ok", "data", told)


def _store(session: CommandSession) -> Iterator[DoctorFinding]:
    data, store = data_folder(session.environ), session.source.config.ledger.store
    url = store_url(store, data)
    file = Path(url.removeprefix(SCHEME)) if url.startswith(SCHEME) else None
    if file is not None:
        yield from _set_aside(file)
    if file is not None and not file.exists():
        yield DoctorFinding("ok", "ledger", f"{file} is made at the first start")
        return
    try:
        missing = _missing(url, file)
    except StoreRebuildingError as error:
        hint = "Calls go on meanwhile."
        fix = f"ls -l {quote(str(file))}"
        yield DoctorFinding("warning", "ledger", f"{error}", hint, where="ledger.store", fix=fix)
        return
    except StoreDamagedError as error:
        hint = "It is a copy of the journals: once it is moved away, a gateway makes it anew."
        fix = f"mv {quote(str(file))} {quote(f'{file}.old')}"
        yield DoctorFinding("error", "ledger", f"{error}", hint, where="ledger.store", fix=fix)
        return
    except (StoreError, sqlite3.Error) as error:
        hint = "Calls go on, and their rows wait in the journal; costs cannot be asked for."
        fix = f"ls -l {quote(str(file))}" if file is not None else "tiergate check"
        yield DoctorFinding("error", "ledger", f"{error}", hint, where="ledger.store", fix=fix)
        return
    if missing is not None:
        when = datetime.fromtimestamp(missing, UTC).isoformat(timespec="seconds")
        message = f"Rows of calls before {when} are missing since the store was made anew."
        hint = "Budgets whose window began before that let no call pass that needs its sum anew."
        sql = "UPDATE rebuilds SET missing_until = NULL"
        fix = f"sqlite3 {quote(str(file))} {quote(sql)}  # budgets begin without these rows"
        yield DoctorFinding(
            "warning", "ledger", message, hint, where="ledger.keep_journal", fix=fix
        )
    yield DoctorFinding("ok", "ledger", f"{file or 'PostgreSQL'} can be asked")


def _missing(url: str, file: Path | None) -> float | None:
    """Return until when rows may be missing. Raises StoreError and sqlite3.Error."""
    why = "" if file is None else sqlite_damage.examine(file)
    if why:
        raise StoreDamagedError(f"{file}: {why}")
    store = open_store(url)
    try:
        return store.missing_until()
    finally:
        store.close()


def _set_aside(file: Path) -> Iterator[DoctorFinding]:
    """Damaged files that a gateway has set aside."""
    for one in sqlite_damage.set_aside_before(file):
        message = f"{one} was found damaged and set aside; {file.name} was made anew."
        hint = "Look at the disk, and remove it once you have no use for it."
        fix = f"rm {quote(str(one))}*"
        yield DoctorFinding("warning", "ledger", message, hint, where=str(one), fix=fix)


def _secret(session: CommandSession) -> Iterator[DoctorFinding]:
    given = session.environ.get("TIERGATE_SECRET", "").split(",")[0].strip()
    file = data_folder(session.environ) / "secret"
    if given:
        if len(given) < _SHORT:
            hint = "Take `openssl rand -hex 32`."
            fix = 'export TIERGATE_SECRET="$(openssl rand -hex 32)"'
            message = "TIERGATE_SECRET is short."
            yield DoctorFinding(
                "warning", "secret", message, hint, where="TIERGATE_SECRET", fix=fix
            )
        else:
            yield DoctorFinding("ok", "secret", "TIERGATE_SECRET is set")
        return
    if _far(session.environ.get("REDIS_URL", "")):
        message = "TIERGATE_SECRET is not set, and Redis is on another machine."
        hint = "Machines that share a cache must share it: each finds only its own answers else."
        fix = f'export TIERGATE_SECRET="$(cat {quote(str(file))})"'
        yield DoctorFinding("warning", "secret", message, hint, where="TIERGATE_SECRET", fix=fix)
    if not file.exists():
        yield DoctorFinding("ok", "secret", f"{file} is made at the first start")
    elif mode := file.stat().st_mode & (_OTHERS_READ | _OTHERS_WRITE):
        yield DoctorFinding(
            "error",
            "secret",
            f"others may use {file} ({mode:03o}).",
            where=str(file),
            fix=f"chmod 600 {quote(str(file))}",
        )
    else:
        yield DoctorFinding("ok", "secret", f"{file}, its owner's alone")


def _files(session: CommandSession) -> Iterator[DoctorFinding]:
    in_flight, most = session.source.config.server.in_flight, process.most_files()
    needed = in_flight * _FILES_A_CALL + _FILES
    if most is None:
        yield DoctorFinding("ok", "files", "this system does not say how many may be open")
    elif most < needed:
        message = f"{most} may be open, and server.in_flight: {in_flight} needs {needed}."
        hint = "Raise the limit (ulimit -n, LimitNOFILE=), or lower server.in_flight."
        fix = f"ulimit -n {needed}"
        yield DoctorFinding("warning", "files", message, hint, where="server.in_flight", fix=fix)
    else:
        yield DoctorFinding("ok", "files", f"{most} may be open, {needed} are needed")


def _keys(session: CommandSession) -> Iterator[DoctorFinding]:
    setting, environ = session.source.config.keys, session.environ
    count = len(session.key_table().known())
    if setting == "open" and not environ.get("TIERGATE_KEYS"):
        yield DoctorFinding("ok", "keys", "open: whoever reaches it may call")
        return
    if setting != "open":
        file = session.source.file.parent / setting
        mode, fix = file.stat().st_mode, f"chmod 600 {quote(str(file))}"
        if mode & _OTHERS_WRITE:
            message = f"others may change {file} ({mode & 0o777:03o}): add keys, lift budgets."
            yield DoctorFinding("error", "keys", message, where=str(file), fix=fix)
            return
        if mode & _OTHERS_READ:
            message = f"others may read {file} ({mode & 0o777:03o}): it has hashes, no secrets."
            yield DoctorFinding("warning", "keys", message, where=str(file), fix=fix)
            return
    yield DoctorFinding("ok", "keys", f"{count} known")


def _providers(session: CommandSession) -> Iterator[DoctorFinding]:
    """Of labs that are on; one that is off is no fault, but where it is the default."""
    labs = session.site.built.catalogue.labs
    for name, lab in labs.items():
        if not lab.on and name == session.source.config.default.lab:
            message = f"the default lab {name} is off: {lab.why}."
            hint = "Bare tier names go to the first that is on."
            yield DoctorFinding(
                "warning", "labs", message, hint, where="default.lab", fix=_set(lab.why)
            )
    on = {name: lab for name, lab in labs.items() if lab.on}
    if not on:
        hint = "Set the credential of one: `tiergate check` names them."
        message, fix = (
            "none is on: no call can be served.",
            _set(*(one.why for one in labs.values())),
        )
        yield DoctorFinding("error", "labs", message, hint, where="labs", fix=fix)
        return
    off = f", {len(labs) - len(on)} off (`tiergate check` says why)" if len(on) < len(labs) else ""
    yield DoctorFinding("ok", "labs", f"{', '.join(on)}{off}")
    used = {
        target.provider.name: target.provider
        for lab in on.values()
        for targets in lab.tiers.values()
        for target in targets
    }
    for name, provider in used.items():
        if not provider.on:
            message, where = f"{name} is off: {provider.why}.", f"providers.{name}"
            fix = _set(provider.why)
            yield DoctorFinding("warning", "providers", message, where=where, fix=fix)
    told = [f"{name} {_accounts(one)}" for name, one in used.items() if one.on]
    yield DoctorFinding("ok", "providers", ", ".join(told))


def _classifier() -> DoctorFinding:
    """Whether it is compiled. It need not be, but a library that is there should work."""
    found = native.library()
    if not isinstance(found, str):
        return DoctorFinding("ok", "classifier", "reads prompts in C")
    message = f"reads prompts in Python, which takes longer: {found}."
    if not native.LIBRARY.exists():
        hint = "Install it again where `cc --version` answers."
        return DoctorFinding("ok", "classifier", message, hint)
    file, hint = str(native.LIBRARY), "Install it again on this machine."
    checkout = (native.LIBRARY.parents[3] / "scripts/setup").exists()
    fix = f"rm {quote(file)} && make install" if checkout else ""
    return DoctorFinding("warning", "classifier", message, hint, where=file, fix=fix)


def _set(*whys: str) -> str:
    """What sets the first variable that is asked for."""
    found = next((match for why in whys if (match := _VARIABLE.search(why)) is not None), None)
    return f"export {found[0]}=..." if found is not None else "tiergate check"


def _accounts(provider: Provider) -> str:
    count = len(provider.accounts)
    return "without an account" if not count else f"{count} account{'s' if count > 1 else ''}"


def _told(what: str, mistakes: list[Mistake]) -> Iterator[DoctorFinding]:
    for one in mistakes:
        message = f"{one.path}: {one.message}" if one.path else one.message
        yield DoctorFinding(one.level, what, message, one.hint, where=one.path)


def _counts(session: CommandSession) -> bool:
    config = session.source.config
    own = any(key.limits or key.budgets for key in session.key_table().known())
    return bool(config.limits or config.budgets or own)


def _far(url: str) -> bool:
    """Whether a Redis is on another machine."""
    try:
        return any(host not in _LOOPBACK for host, _ in read(url).hosts)
    except ValueError:
        return False


def _mounted(path: Path) -> tuple[str, str]:
    """Where the file system of a path is mounted, and of what kind it is."""
    best = ("/", "")
    try:
        lines = Path("/proc/self/mounts").read_text("utf-8", "replace").splitlines()
    except OSError:
        return best
    for line in lines:
        _, mount, kind, *_ = line.split(" ")
        if path.is_relative_to(mount) and len(mount) >= len(best[0]):
            best = (mount, kind)
    return best
