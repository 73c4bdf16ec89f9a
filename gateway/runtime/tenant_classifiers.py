"""Classifiers that were trained on tenants' own traffic: each serves its tenant, and no other.

Below the data folder, `classifiers/` has a folder a tenant: artefacts by their id, and `now.json`,
which says which is in force. What training writes there a running gateway reads within seconds.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from gateway.core import jsonio
from gateway.ledger.file_lock import MODE
from gateway.routing.classifier import model_file as files
from gateway.routing.classifier.heuristic import Classifier
from gateway.routing.classifier.learned import LearnedClassifier
from gateway.routing.classifier.model_file import ClassifierModel
from gateway.routing.errors import ModelFileError

_FOLDER, _NOW, _SUFFIX = "classifiers", "now.json", ".tiergate"
_PRIVATE = 0o700
_EARLIER = 5
"""That are kept to go back to."""
_MOST = 100_000
"""Bytes of `now.json`."""


class TenantModel(msgspec.Struct, frozen=True):
    """One artefact of a tenant's."""

    id: str
    at: float
    """When it was trained, seconds since the epoch."""


class TenantModelInForce(msgspec.Struct, frozen=True, kw_only=True):
    """What is in force for a tenant."""

    tenant: str
    made: TenantModel | None = None
    """None: what serves everybody."""
    earlier: tuple[TenantModel, ...] = ()
    """What was in force before, oldest first."""


type _Known = tuple[tuple[int, int], str, Classifier | None]
"""What a folder's file was when it was read, whose it is, and what it says."""


class TenantModelError(Exception):
    """What a tenant's folder has cannot be used; the text says why."""


class TenantModelFolder:
    """The artefacts of one tenant. Everything raises TenantModelError for what cannot be read."""

    def __init__(self, data: Path, tenant: str) -> None:
        digest = hashlib.blake2b(tenant.encode("utf-8", "replace"), digest_size=16).hexdigest()
        self.tenant = tenant
        self.folder = data / _FOLDER / digest

    def now(self) -> TenantModelInForce:
        """What is in force."""
        found = _now(self.folder)
        return found if found is not None else TenantModelInForce(tenant=self.tenant)

    def artefact(self) -> ClassifierModel | None:
        """The artefact in force; None where it is what serves everybody."""
        made = self.now().made
        return None if made is None else _artefact(self.folder, made.id)

    def take(self, artefact: ClassifierModel, at: float) -> None:
        """Put an artefact in force. Raises OSError."""
        now, made = self.now(), TenantModel(artefact.id, at)
        self.folder.mkdir(parents=True, exist_ok=True, mode=_PRIVATE)
        _write(self.folder / f"{artefact.id}{_SUFFIX}", files.write(artefact))
        earlier = now.earlier if now.made in (None, made) else (*now.earlier, now.made)
        self._tell(
            TenantModelInForce(tenant=self.tenant, made=made, earlier=_some(earlier)[-_EARLIER:])
        )
        self._sweep()

    def back(self) -> TenantModelInForce:
        """Put in force what was before: an earlier one, or what serves everybody.

        Raises TenantModelError where there is nothing to go back from, and OSError.
        """
        now = self.now()
        if now.made is None:
            raise TenantModelError("it goes by what serves everybody already")
        made = now.earlier[-1] if now.earlier else None
        found = TenantModelInForce(tenant=self.tenant, made=made, earlier=now.earlier[:-1])
        self._tell(found)
        return found

    def _tell(self, now: TenantModelInForce) -> None:
        _write(self.folder / _NOW, jsonio.dumps(now) + b"\n")

    def _sweep(self) -> None:
        now = self.now()
        kept = {one.id for one in (now.made, *now.earlier) if one is not None}
        for path in self.folder.glob(f"*{_SUFFIX}"):
            if path.stem not in kept:
                path.unlink(missing_ok=True)


class TenantClassifiers(Mapping[str, Classifier]):
    """Classifiers by tenant, as of the last `refresh`. Read by one thread, refreshed by another."""

    def __init__(self, data: Path, note: Callable[[str], None] = lambda _: None) -> None:
        """`note` is told of what cannot be used, once until it changes."""
        self._folder = data / _FOLDER
        self._note = note
        self._known: dict[str, _Known] = {}
        self._found: Mapping[str, Classifier] = {}

    def __getitem__(self, tenant: str) -> Classifier:
        """The classifier of a tenant. Raises KeyError."""
        return self._found[tenant]

    def __iter__(self) -> Iterator[str]:
        """The tenants that have one."""
        return iter(self._found)

    def __len__(self) -> int:
        """How many have one."""
        return len(self._found)

    def refresh(self) -> bool:
        """Read what has changed; whether anything has. What cannot be used stays as it was."""
        known: dict[str, _Known] = {}
        for path in sorted(self._folder.glob(f"*/{_NOW}")):
            name = path.parent.name
            before = self._known.get(name)
            try:
                seen = path.stat()
            except OSError:
                continue
            stamp = seen.st_mtime_ns, seen.st_ino
            if before is not None and before[0] == stamp:
                known[name] = before
                continue
            try:
                tenant, found = _classifier(path.parent)
            except TenantModelError as error:
                self._note(f"the classifier in {path.parent} is not used: {error}")
                tenant, found = before[1:] if before is not None else ("", None)
            known[name] = stamp, tenant, found
        changed = known != self._known
        self._known = known
        self._found = {tenant: one for _, tenant, one in known.values() if one is not None}
        return changed


def _classifier(folder: Path) -> tuple[str, Classifier | None]:
    now = _now(folder)
    if now is None:
        raise TenantModelError("it is gone")
    return now.tenant, None if now.made is None else LearnedClassifier(
        _artefact(folder, now.made.id)
    )


def _now(folder: Path) -> TenantModelInForce | None:
    try:
        data = (folder / _NOW).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TenantModelError((error.strerror or "it cannot be read").lower()) from None
    try:
        found: TenantModelInForce = _read(data[:_MOST])
    except jsonio.JsonError as error:
        raise TenantModelError(f"{_NOW}: {error}") from None
    return found


def _artefact(folder: Path, name: str) -> ClassifierModel:
    path = folder / f"{name}{_SUFFIX}"
    if path.parent != folder:
        raise TenantModelError(f"{name!r} is no id")
    try:
        return files.read(path.read_bytes())
    except OSError as error:
        raise TenantModelError(f"{name}: {(error.strerror or '').lower()}") from None
    except ModelFileError as error:
        raise TenantModelError(f"{name}: {error}") from None


def _some(made: tuple[TenantModel | None, ...]) -> tuple[TenantModel, ...]:
    return tuple(one for one in made if one is not None)


def _write(path: Path, data: bytes) -> None:
    """All of it or nothing, also where the machine stops meanwhile."""
    scratch = path.with_name(f"{path.name}.new")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    scratch.replace(path)


_read = jsonio.reader(TenantModelInForce)
