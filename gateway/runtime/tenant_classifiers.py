"""Classifiers trained on tenants' own traffic: each serves its tenant, and no other.

The folder `classifiers/` in the data folder has a folder for each tenant. It holds artefacts by
their id, and `now.json`, which names the one in force. A running gateway reads what training writes
there within seconds.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from gateway.core import jsonio
from gateway.ledger.file_lock import FILE_MODE
from gateway.routing.classifier import model_file
from gateway.routing.classifier.heuristic import Classifier
from gateway.routing.classifier.learned import LearnedClassifier
from gateway.routing.classifier.model_file import ClassifierModel
from gateway.routing.errors import ModelFileError

_FOLDER_NAME, _STATE_FILE_NAME, _SUFFIX = "classifiers", "now.json", ".tiergate"
_PRIVATE_MODE = 0o700
_MAX_EARLIER = 5
"""The number of earlier artefacts that are kept for a rollback."""
_MAX_STATE_BYTES = 100_000
"""The most bytes of `now.json`."""


class TenantModel(msgspec.Struct, frozen=True):
    """One artefact of a tenant."""

    id: str
    at: float
    """The time of training, in seconds since the epoch."""


class TenantModelInForce(msgspec.Struct, frozen=True, kw_only=True):
    """The artefact in force for a tenant, and earlier ones."""

    tenant: str
    made: TenantModel | None = None
    """The artefact in force; None if the shared classifier serves the tenant."""
    earlier: tuple[TenantModel, ...] = ()
    """Artefacts that were in force before, oldest first."""


type _CachedClassifier = tuple[tuple[int, int], str, Classifier | None]
"""The modification time and inode of a `now.json` when it was read, its tenant, and its
classifier."""


class TenantModelError(Exception):
    """The files of a tenant's folder cannot be used; the text gives the reason."""


class TenantModelFolder:
    """The artefacts of one tenant. Methods raise TenantModelError if they cannot read a file."""

    def __init__(self, data: Path, tenant: str) -> None:
        digest = hashlib.blake2b(tenant.encode("utf-8", "replace"), digest_size=16).hexdigest()
        self.tenant = tenant
        self.folder = data / _FOLDER_NAME / digest

    def read_state(self) -> TenantModelInForce:
        """Return the artefact in force and earlier ones."""
        state = _read_state(self.folder)
        return state if state is not None else TenantModelInForce(tenant=self.tenant)

    def read_model(self) -> ClassifierModel | None:
        """Return the artefact in force; None if the shared classifier serves the tenant."""
        model = self.read_state().made
        return None if model is None else _read_model(self.folder, model.id)

    def activate(self, model: ClassifierModel, trained_at: float) -> None:
        """Put an artefact in force. Raises OSError."""
        state, tenant_model = self.read_state(), TenantModel(model.id, trained_at)
        self.folder.mkdir(parents=True, exist_ok=True, mode=_PRIVATE_MODE)
        _write_atomically(self.folder / f"{model.id}{_SUFFIX}", model_file.write(model))
        earlier = (
            state.earlier if state.made in (None, tenant_model) else (*state.earlier, state.made)
        )
        self._write_state(
            TenantModelInForce(
                tenant=self.tenant,
                made=tenant_model,
                earlier=_drop_missing(earlier)[-_MAX_EARLIER:],
            )
        )
        self._remove_unused()

    def roll_back(self) -> TenantModelInForce:
        """Put the previous artefact in force, or the shared classifier if there is none.

        Raises TenantModelError if the shared classifier serves the tenant already, and OSError.
        """
        state = self.read_state()
        if state.made is None:
            raise TenantModelError("it already uses the shared classifier")
        tenant_model = state.earlier[-1] if state.earlier else None
        new_state = TenantModelInForce(
            tenant=self.tenant, made=tenant_model, earlier=state.earlier[:-1]
        )
        self._write_state(new_state)
        return new_state

    def _write_state(self, state: TenantModelInForce) -> None:
        _write_atomically(self.folder / _STATE_FILE_NAME, jsonio.dumps(state) + b"\n")

    def _remove_unused(self) -> None:
        state = self.read_state()
        kept_ids = {model.id for model in (state.made, *state.earlier) if model is not None}
        for path in self.folder.glob(f"*{_SUFFIX}"):
            if path.stem not in kept_ids:
                path.unlink(missing_ok=True)


class TenantClassifiers(Mapping[str, Classifier]):
    """Classifiers by tenant, as of the last `refresh`. One thread reads, another refreshes."""

    def __init__(self, data: Path, note: Callable[[str], None] = lambda _: None) -> None:
        """`note` gets a text for each file that cannot be used, once until the file changes."""
        self._folder = data / _FOLDER_NAME
        self._note = note
        self._entries: dict[str, _CachedClassifier] = {}
        self._classifiers: Mapping[str, Classifier] = {}

    def __getitem__(self, tenant: str) -> Classifier:
        """Return the classifier of a tenant. Raises KeyError."""
        return self._classifiers[tenant]

    def __iter__(self) -> Iterator[str]:
        """Return the tenants that have a classifier."""
        return iter(self._classifiers)

    def __len__(self) -> int:
        """Return the number of tenants that have a classifier."""
        return len(self._classifiers)

    def refresh(self) -> bool:
        """Read folders that have changed, and return True if any has.

        If a folder cannot be used, its tenant keeps the classifier of before.
        """
        entries: dict[str, _CachedClassifier] = {}
        for path in sorted(self._folder.glob(f"*/{_STATE_FILE_NAME}")):
            name = path.parent.name
            old_entry = self._entries.get(name)
            try:
                file_stat = path.stat()
            except OSError:
                continue
            stamp = file_stat.st_mtime_ns, file_stat.st_ino
            if old_entry is not None and old_entry[0] == stamp:
                entries[name] = old_entry
                continue
            try:
                tenant, classifier = _load_classifier(path.parent)
            except TenantModelError as error:
                self._note(f"the classifier in {path.parent} is not used: {error}")
                tenant, classifier = old_entry[1:] if old_entry is not None else ("", None)
            entries[name] = stamp, tenant, classifier
        has_changed = entries != self._entries
        self._entries = entries
        self._classifiers = {
            tenant: item for _, tenant, item in entries.values() if item is not None
        }
        return has_changed


def _load_classifier(folder: Path) -> tuple[str, Classifier | None]:
    state = _read_state(folder)
    if state is None:
        raise TenantModelError("it is gone")
    return state.tenant, None if state.made is None else LearnedClassifier(
        _read_model(folder, state.made.id)
    )


def _read_state(folder: Path) -> TenantModelInForce | None:
    try:
        data = (folder / _STATE_FILE_NAME).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TenantModelError((error.strerror or "it cannot be read").lower()) from None
    try:
        state: TenantModelInForce = _decode_state(data[:_MAX_STATE_BYTES])
    except jsonio.JsonError as error:
        raise TenantModelError(f"{_STATE_FILE_NAME}: {error}") from None
    return state


def _read_model(folder: Path, model_id: str) -> ClassifierModel:
    path = folder / f"{model_id}{_SUFFIX}"
    if path.parent != folder:
        raise TenantModelError(f"{model_id!r} is no id")
    try:
        return model_file.read(path.read_bytes())
    except OSError as error:
        raise TenantModelError(f"{model_id}: {(error.strerror or '').lower()}") from None
    except ModelFileError as error:
        raise TenantModelError(f"{model_id}: {error}") from None


def _drop_missing(models: tuple[TenantModel | None, ...]) -> tuple[TenantModel, ...]:
    return tuple(model for model in models if model is not None)


def _write_atomically(path: Path, data: bytes) -> None:
    """Write a file completely or not at all, even if the machine stops meanwhile."""
    scratch = path.with_name(f"{path.name}.new")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    scratch.replace(path)


_decode_state = jsonio.make_reader(TenantModelInForce)
