"""Invented labels: certain words make prompts hard, in sources that look different."""

from functools import cache
from random import Random

from gateway.core.target import TIERS, Tier
from gateway.evaluation.labels import Label
from gateway.evaluation.training import fit, train
from gateway.evaluation.training.dataset import TrainingRow, read_rows

EASY = ("apple", "river", "yellow", "kitchen", "morning", "garden")
HARD = ("tensor", "lattice", "quartic", "entropy", "holonomy", "cocycle")
PLAIN = tuple(f"word{at}" for at in range(40))
SMALL = fit.TrainingPlan(passes=6)


def labels(count: int = 480, seed: int = 5) -> list[Label]:
    """Return labels: half of each source's prompts are hard, and there smart is mostly better."""
    chance = Random(seed)
    labelled = []
    for at in range(count):
        hard = at % 2 == 1
        words = [chance.choice(PLAIN) for _ in range(chance.randrange(5, 15))]
        words += [chance.choice(HARD if hard else EASY) for _ in range(4)]
        chance.shuffle(words)
        text, source = " ".join(words), ("exam", "chat", "code")[at // 2 % 3]
        if source == "exam":
            text += "\nA. one\nB. two three\nC. 4\nD. 5"
        if source == "code":
            text = f"def f(x):\n    return x\n{text} == ??"
        fast = 0.0 if hard and chance.random() < 0.9 else 1.0
        scores: dict[Tier, float] = {"fast": fast, "smart": 1.0 if chance.random() < 0.9 else 0.0}
        if source == "code":
            scores["reasoning"] = 1.0
        labelled.append(Label(prompt=text, scores=scores, source=source))
    return labelled


def placed_labels(count: int = 300, seed: int = 6) -> list[Label]:
    """Return prompts of which a third need each tier: easy words, hard words, hard with a proof."""
    random = Random(seed)
    placed = []
    for index in range(count):
        tier = TIERS[index % 3]
        words = [random.choice(PLAIN) for _ in range(random.randrange(5, 15))]
        words += [random.choice(EASY if tier == "fast" else HARD) for _ in range(4)]
        random.shuffle(words)
        text = " ".join(words)
        placed.append(
            Label(
                prompt=f"prove that {text}" if tier == "reasoning" else text,
                tier=tier,
                source="written",
            )
        )
    return placed


@cache
def rows() -> list[TrainingRow]:
    """Return scored rows."""
    return read_rows(labels())


@cache
def placed_rows() -> list[TrainingRow]:
    """Return rows with a tier that a person chose."""
    return read_rows(placed_labels())


@cache
def learnt() -> train.TrainedModel:
    """Return a model trained on scored rows, and its evaluation."""
    return train.learn(rows(), SMALL, seed=3)


@cache
def learnt_with_placed() -> train.TrainedModel:
    """Return a model trained on rows of both kinds."""
    return train.learn([*rows(), *placed_rows()], SMALL, seed=3)
