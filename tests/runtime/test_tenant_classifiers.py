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


def make_model(level: float) -> ClassifierModel:
    """Make a model that is unlike those of other levels."""
    model = lesson.learnt().model
    head = msgspec.structs.replace(model.fast_fails, level=level)
    return name_model(msgspec.structs.replace(model, fast_fails=head))


ONE, TWO, THREE = make_model(0.1), make_model(0.2), make_model(0.3)


@pytest.fixture
def folder(tmp_path: Path) -> TenantModelFolder:
    return TenantModelFolder(tmp_path, "acme")


def test_at_first_a_tenant_uses_the_shared_classifier(folder: TenantModelFolder) -> None:
    assert folder.read_model() is None
    assert (folder.read_state().tenant, folder.read_state().made) == ("acme", None)
    with pytest.raises(TenantModelError, match="already uses the shared classifier"):
        folder.roll_back()


def test_a_tenant_model_can_be_activated_and_rolled_back(
    folder: TenantModelFolder,
) -> None:
    folder.activate(ONE, 1.0)
    folder.activate(TWO, 2.0)
    assert folder.read_model() == TWO
    assert folder.read_state().earlier == (TenantModel(ONE.id, 1.0),)
    assert folder.roll_back().made == TenantModel(ONE.id, 1.0)
    assert folder.read_model() == ONE
    assert folder.roll_back().made is None
    assert folder.read_model() is None


def test_activating_the_same_model_again_changes_nothing(folder: TenantModelFolder) -> None:
    folder.activate(ONE, 1.0)
    folder.activate(ONE, 1.0)
    assert folder.read_state().earlier == ()


def test_five_earlier_models_are_kept(folder: TenantModelFolder) -> None:
    for number in range(9):
        folder.activate(make_model(float(number)), float(number))
    state = folder.read_state()
    assert [model.at for model in state.earlier] == [3.0, 4.0, 5.0, 6.0, 7.0]
    assert len([*folder.folder.glob("*.tiergate")]) == 6


def test_only_the_owner_of_the_process_may_read_a_model(folder: TenantModelFolder) -> None:
    """The model is made from private prompts, although it holds no text."""
    folder.activate(ONE, 1.0)
    assert stat.S_IMODE(folder.folder.stat().st_mode) == 0o700
    for path in folder.folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_tenant_name_leads_out_of_the_folder(tmp_path: Path) -> None:
    for tenant in ("../../etc", "/", "a\0b", "x" * 5_000, "\udcff"):
        folder = TenantModelFolder(tmp_path, tenant)
        assert folder.folder.parent == tmp_path / "classifiers"
        assert folder.read_model() is None


BROKEN: list[tuple[bytes, str]] = [
    (b"{", "now.json"),
    (b'{"tenant": "acme", "made": {"id": "gone", "at": 1}}', "gone: no such file"),
    (b'{"tenant": "acme", "made": {"id": "../../now", "at": 1}}', "is no id"),
    (b'{"tenant": "acme", "made": {"id": "bad", "at": 1}}', "bad: "),
]


@pytest.mark.parametrize(("state_file", "reason"), BROKEN)
def test_an_unusable_model_is_reported_and_the_current_one_stays(
    tmp_path: Path, state_file: bytes, reason: str
) -> None:
    folder, messages = TenantModelFolder(tmp_path, "acme"), list[str]()
    folder.activate(ONE, 1.0)
    classifiers = TenantClassifiers(tmp_path, messages.append)
    assert classifiers.refresh()
    (folder.folder / "bad.tiergate").write_bytes(b"nothing")
    (folder.folder / "now.json").write_bytes(state_file)
    _touch(folder, 5)
    with pytest.raises(TenantModelError, match=reason):
        folder.read_model()
    classifiers.refresh()
    classifiers.refresh()
    assert _version(classifiers, "acme") == ONE.id
    assert len(messages) == 1
    assert reason in messages[0]


def test_a_tenant_whose_first_model_is_unusable_has_none(tmp_path: Path) -> None:
    folder, messages = TenantModelFolder(tmp_path, "acme"), list[str]()
    folder.folder.mkdir(parents=True)
    (folder.folder / "now.json").write_bytes(b"{}")
    classifiers = TenantClassifiers(tmp_path, messages.append)
    classifiers.refresh()
    assert (len(classifiers), len(messages)) == (0, 1)


def test_a_folder_that_cannot_be_read_is_reported(folder: TenantModelFolder) -> None:
    folder.folder.mkdir(parents=True)
    (folder.folder / "now.json").mkdir()
    with pytest.raises(TenantModelError, match="is a directory"):
        folder.read_state()


def test_each_tenant_has_its_own_model_and_changes_are_noticed(tmp_path: Path) -> None:
    first, second = TenantModelFolder(tmp_path, "one"), TenantModelFolder(tmp_path, "two")
    classifiers = TenantClassifiers(tmp_path)
    assert not classifiers.refresh()
    first.activate(ONE, 1.0)
    second.activate(TWO, 1.0)
    assert classifiers.refresh()
    assert not classifiers.refresh()
    assert {name: _version(classifiers, name) for name in classifiers} == {
        "one": ONE.id,
        "two": TWO.id,
    }
    first.activate(THREE, 2.0)
    _touch(first, 1)
    assert classifiers.refresh()
    assert _version(classifiers, "one") == THREE.id
    first.roll_back()
    first.roll_back()
    _touch(first, 2)
    assert classifiers.refresh()
    assert [*classifiers] == ["two"]


def test_a_stored_model_is_unchanged(folder: TenantModelFolder) -> None:
    folder.activate(ONE, 1.5)
    state = jsonio.loads((folder.folder / "now.json").read_bytes())
    assert state == {"tenant": "acme", "made": {"id": ONE.id, "at": 1.5}, "earlier": []}
    assert files.read((folder.folder / f"{ONE.id}.tiergate").read_bytes()) == ONE


def _version(classifiers: TenantClassifiers, tenant: str) -> str:
    classifier = classifiers[tenant]
    assert isinstance(classifier, LearnedClassifier)
    return classifier.version


def _touch(folder: TenantModelFolder, seconds: int) -> None:
    """Let the file look newer or older: the clocks of file systems are coarse."""
    path = folder.folder / "now.json"
    time_ns = path.stat().st_mtime_ns + seconds * 1_000_000_000
    os.utime(path, ns=(time_ns, time_ns))


def test_exemplars_of_the_operator_wrap_a_tenants_classifier(tmp_path: Path) -> None:
    """If a formula serves everybody, it serves the tenant too."""
    text = (
        "version: 1\nproviders:\n  a:\n    base_url: http://127.0.0.1:1\n"
        "    dialects: {openai-chat: /c}\n    auth: none\nlabs:\n  a:\n    smart: [{model: m}]\n"
    )
    taught = "exemplars: [{prompt: a short reply to this ticket, tier: fast}]\n"
    tenant_models = {"acme": LearnedClassifier(ONE)}
    for more, wraps in (("", False), (taught, True), ("routing: {classifier: prior}\n", None)):
        file = tmp_path / "gateway.yaml"
        file.write_text(text + more, "utf-8")
        built = build_config(load(file, {}), datetime.now(UTC))
        adopt_classifiers(built, tenant_models)
        serves = built.router.tenant_classifiers.get("acme")
        assert (serves is None) == (wraps is None)
        assert isinstance(serves, ExemplarClassifier) == bool(wraps)
