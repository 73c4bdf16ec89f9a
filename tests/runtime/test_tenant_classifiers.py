"""Tenants' own classifiers: activation, rollback, reloading, and isolation from other tenants."""

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from gateway.core import jsonio
from gateway.evaluation.training.train import name_model
from gateway.routing.classifier import model_file as files
from gateway.routing.classifier.exemplars import ExemplarClassifier
from gateway.routing.classifier.learned import LearnedClassifier
from gateway.routing.classifier.model_file import ClassifierModel
from gateway.runtime.build import adopt_classifiers, build_config
from gateway.runtime.tenant_classifiers import (
    TenantClassifiers,
    TenantModel,
    TenantModelError,
    TenantModelFolder,
)
from gateway.settings.loader import load
from tests.evaluation.training import lesson


def made(level: float) -> ClassifierModel:
    """Make a model that is unlike those of other levels."""
    model = lesson.learnt().model
    head = msgspec.structs.replace(model.fast_fails, level=level)
    return name_model(msgspec.structs.replace(model, fast_fails=head))


ONE, TWO, THREE = made(0.1), made(0.2), made(0.3)


@pytest.fixture
def shelf(tmp_path: Path) -> TenantModelFolder:
    return TenantModelFolder(tmp_path, "acme")


def test_at_first_a_tenant_goes_by_what_serves_everybody(shelf: TenantModelFolder) -> None:
    assert shelf.read_model() is None
    assert (shelf.read_state().tenant, shelf.read_state().made) == ("acme", None)
    with pytest.raises(TenantModelError, match="already uses the shared classifier"):
        shelf.roll_back()


def test_what_was_taken_is_in_force_and_what_was_before_can_be_gone_back_to(
    shelf: TenantModelFolder,
) -> None:
    shelf.activate(ONE, 1.0)
    shelf.activate(TWO, 2.0)
    assert shelf.read_model() == TWO
    assert shelf.read_state().earlier == (TenantModel(ONE.id, 1.0),)
    assert shelf.roll_back().made == TenantModel(ONE.id, 1.0)
    assert shelf.read_model() == ONE
    assert shelf.roll_back().made is None
    assert shelf.read_model() is None


def test_the_same_one_again_is_no_other(shelf: TenantModelFolder) -> None:
    shelf.activate(ONE, 1.0)
    shelf.activate(ONE, 1.0)
    assert shelf.read_state().earlier == ()


def test_a_few_earlier_ones_are_kept(shelf: TenantModelFolder) -> None:
    for at in range(9):
        shelf.activate(made(float(at)), float(at))
    now = shelf.read_state()
    assert [one.at for one in now.earlier] == [3.0, 4.0, 5.0, 6.0, 7.0]
    assert len([*shelf.folder.glob("*.tiergate")]) == 6


def test_only_its_owner_may_read_it(shelf: TenantModelFolder) -> None:
    """The model is made from private prompts, although it holds no text."""
    shelf.activate(ONE, 1.0)
    assert stat.S_IMODE(shelf.folder.stat().st_mode) == 0o700
    for path in shelf.folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_name_of_a_tenant_leaves_the_folder(tmp_path: Path) -> None:
    for tenant in ("../../etc", "/", "a\0b", "x" * 5_000, "\udcff"):
        shelf = TenantModelFolder(tmp_path, tenant)
        assert shelf.folder.parent == tmp_path / "classifiers"
        assert shelf.read_model() is None


BROKEN: list[tuple[bytes, str]] = [
    (b"{", "now.json"),
    (b'{"tenant": "acme", "made": {"id": "gone", "at": 1}}', "gone: no such file"),
    (b'{"tenant": "acme", "made": {"id": "../../now", "at": 1}}', "is no id"),
    (b'{"tenant": "acme", "made": {"id": "bad", "at": 1}}', "bad: "),
]


@pytest.mark.parametrize(("said", "why"), BROKEN)
def test_what_cannot_be_used_is_told_and_what_was_before_stays(
    tmp_path: Path, said: bytes, why: str
) -> None:
    shelf, told = TenantModelFolder(tmp_path, "acme"), list[str]()
    shelf.activate(ONE, 1.0)
    owned = TenantClassifiers(tmp_path, told.append)
    assert owned.refresh()
    (shelf.folder / "bad.tiergate").write_bytes(b"nothing")
    (shelf.folder / "now.json").write_bytes(said)
    _touch(shelf, 5)
    with pytest.raises(TenantModelError, match=why):
        shelf.read_model()
    owned.refresh()
    owned.refresh()
    assert _version(owned, "acme") == ONE.id
    assert len(told) == 1
    assert why in told[0]


def test_one_that_was_never_of_use_is_none(tmp_path: Path) -> None:
    shelf, told = TenantModelFolder(tmp_path, "acme"), list[str]()
    shelf.folder.mkdir(parents=True)
    (shelf.folder / "now.json").write_bytes(b"{}")
    owned = TenantClassifiers(tmp_path, told.append)
    owned.refresh()
    assert (len(owned), len(told)) == (0, 1)


def test_a_folder_that_cannot_be_read_is_told(shelf: TenantModelFolder) -> None:
    shelf.folder.mkdir(parents=True)
    (shelf.folder / "now.json").mkdir()
    with pytest.raises(TenantModelError, match="is a directory"):
        shelf.read_state()


def test_each_tenant_has_its_own_and_a_change_is_seen(tmp_path: Path) -> None:
    one, two = TenantModelFolder(tmp_path, "one"), TenantModelFolder(tmp_path, "two")
    owned = TenantClassifiers(tmp_path)
    assert not owned.refresh()
    one.activate(ONE, 1.0)
    two.activate(TWO, 1.0)
    assert owned.refresh()
    assert not owned.refresh()
    assert {name: _version(owned, name) for name in owned} == {"one": ONE.id, "two": TWO.id}
    one.activate(THREE, 2.0)
    _touch(one, 1)
    assert owned.refresh()
    assert _version(owned, "one") == THREE.id
    one.roll_back()
    one.roll_back()
    _touch(one, 2)
    assert owned.refresh()
    assert [*owned] == ["two"]


def test_an_artefact_is_as_it_was_written(shelf: TenantModelFolder) -> None:
    shelf.activate(ONE, 1.5)
    now = jsonio.loads((shelf.folder / "now.json").read_bytes())
    assert now == {"tenant": "acme", "made": {"id": ONE.id, "at": 1.5}, "earlier": []}
    assert files.read((shelf.folder / f"{ONE.id}.tiergate").read_bytes()) == ONE


def _version(owned: TenantClassifiers, tenant: str) -> str:
    found = owned[tenant]
    assert isinstance(found, LearnedClassifier)
    return found.version


def _touch(shelf: TenantModelFolder, by: int) -> None:
    """Let the file look newer or older: the clocks of file systems are coarse."""
    path = shelf.folder / "now.json"
    at = path.stat().st_mtime_ns + by * 1_000_000_000
    os.utime(path, ns=(at, at))


def test_exemplars_of_the_owner_stand_before_a_tenant_s_own_classifier(tmp_path: Path) -> None:
    """If a formula serves everybody, it serves the tenant too."""
    text = (
        "version: 1\nproviders:\n  a:\n    base_url: http://127.0.0.1:1\n"
        "    dialects: {openai-chat: /c}\n    auth: none\nlabs:\n  a:\n    smart: [{model: m}]\n"
    )
    taught = "exemplars: [{prompt: a short reply to this ticket, tier: fast}]\n"
    own = {"acme": LearnedClassifier(ONE)}
    for more, wraps in (("", False), (taught, True), ("routing: {classifier: prior}\n", None)):
        file = tmp_path / "gateway.yaml"
        file.write_text(text + more, "utf-8")
        found = build_config(load(file, {}), datetime.now(UTC))
        adopt_classifiers(found, own)
        serves = found.router.tenant_classifiers.get("acme")
        assert (serves is None) == (wraps is None)
        assert isinstance(serves, ExemplarClassifier) == bool(wraps)
