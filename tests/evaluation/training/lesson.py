"""Labels that are made up: words that make prompts hard, in sources that look different."""

from functools import cache
from random import Random

from gateway.core.target import Tier
from gateway.evaluation.labels import Label
from gateway.evaluation.training import extra_trees, fit, train
from gateway.evaluation.training.dataset import TrainingRow, outcomes
from gateway.routing.classifier.model_file import ClassifierModel

EASY = ("apple", "river", "yellow", "kitchen", "morning", "garden")
HARD = ("tensor", "lattice", "quartic", "entropy", "holonomy", "cocycle")
PLAIN = tuple(f"word{at}" for at in range(40))
SMALL = fit.TrainingPlan(
    terms=1024, passes=6, growth=extra_trees.Growth(trees=5, leaf=8, tries=0.3)
)


def labels(count: int = 480, seed: int = 5) -> list[Label]:
    """Half of the prompts of each source are hard: there the smart tier is mostly better."""
    chance = Random(seed)
    found = []
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
        found.append(Label(prompt=text, scores=scores, source=source))
    return found


@cache
def rows() -> list[TrainingRow]:
    return outcomes(labels())


@cache
def learnt() -> tuple[ClassifierModel, train.HeldOutResult]:
    """An artefact of them, and how it was judged."""
    return train.learn(rows(), SMALL, seed=3)
