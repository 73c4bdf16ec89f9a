"""The shipped classifier: small, quick to read, and described by its card."""

from pathlib import Path

import pytest

from gateway.core import jsonio
from gateway.evaluation import labels
from gateway.evaluation.metrics.ranking import Sources, average_sources
from gateway.evaluation.training import dataset
from gateway.evaluation.training.dataset import read_rows
from gateway.routing.classifier import model_file as files
from gateway.routing.classifier.learned import LearnedClassifier
from gateway.routing.classifier.text_signals import read_signals as signals_of
from gateway.runtime.build import SHIPPED_MODEL


def shipped() -> files.ClassifierModel:
    return files.read(SHIPPED_MODEL.read_bytes())


def test_the_shipped_model_is_small_and_has_a_card() -> None:
    assert SHIPPED_MODEL.stat().st_size < 150_000
    card = jsonio.loads(SHIPPED_MODEL.with_suffix(".json").read_bytes())
    assert card == shipped().card
    assert (card["id"], card["hash"]) == (shipped().id, shipped().hash)
    assert {"data", "licence", "date", "held_out", "five_parts", "unseen_sources"} <= set(card)
    assert any("2023-24" in limit for limit in card["limits"])


def test_the_shipped_model_beats_its_shuffled_control_on_unseen_prompts() -> None:
    for name in ("held_out", "five_parts", "unseen_sources"):
        assert shipped().card[name]["better"], name


@pytest.mark.parametrize("text", ["hello", "Danke schön!", "你好", "Thanks, bye"])
def test_the_shipped_model_sends_small_talk_to_fast(text: str) -> None:
    classifier = LearnedClassifier(shipped())
    assert classifier.score(text, signals_of(text)).fast >= classifier.thresholds.fast


def test_the_training_data_give_the_figure_of_the_card(outcomes_file: Path) -> None:
    """If the data are there, the card's figure is that of the fit itself.

    It is above the figure on held-out prompts.
    """
    rows = read_rows(labels.read_labels(outcomes_file))
    card = shipped().card
    assert len(rows) == sum(card["rows"].values())
    need = dataset.compute_needs(shipped(), rows)
    weak, strong = [row.fast for row in rows], [row.smart for row in rows]
    apgr = average_sources(Sources(need, weak, strong, [row.source for row in rows]).compute_apgr())
    assert apgr is not None
    assert apgr == pytest.approx(card["fitted"], abs=2e-3)  # the signals may become finer
