"""Labels of two sources, and a router that knows them by their words, without chance."""

from decimal import Decimal
from random import Random

from gateway.core.decision_context import Score, Thresholds
from gateway.core.price import Price
from gateway.core.rates import Rates
from gateway.core.target import Catalogue, Target, Tier
from gateway.evaluation.labels import Label
from gateway.evaluation.routed_labels import LabelRouter
from gateway.routing.classifier.text_signals import TextSignals
from gateway.routing.router import Router
from gateway.routing.rules.compile import RuleSet
from tests.routing import world

AT = 1_790_000_000.0
PRICES = {"small": (1, 2), "large": (3, 4), "huge": (5, 6)}


class FirstWordClassifier:
    """A classifier whose score is the first word of a prompt: the chance that fast suffices."""

    name = "words"
    version = "words-1"
    thresholds = Thresholds(fast=0.5, smart=0.7, id="words-1")

    def score(self, text: str, signals: TextSignals) -> Score:
        fast = float(text.split(maxsplit=1)[0])
        return Score(fast=fast, smart=min(1.0, fast + 0.5))

    def explain(self, signals: TextSignals, score: Score) -> str:
        return "words"


def target(name: str, *, priced: bool = True) -> Target:
    into, out = PRICES[name]
    price = Price(rates=Rates(input=Decimal(into), output=Decimal(out)), version="v")
    return Target(provider=world.OPENAI, model=name, price=price if priced else None)


def catalogue(*, priced: bool = True) -> Catalogue:
    lab = world.lab("openai", [target("small")], [target("large")], [target("huge", priced=priced)])
    return world.catalogue([lab])


def make_label_router(*, priced: bool = True, classifier: bool = True) -> LabelRouter:
    router = Router(
        catalogue=catalogue(priced=priced),
        rules=RuleSet(),
        classifier=FirstWordClassifier() if classifier else None,
        clock=lambda: 0.0,
    )
    return LabelRouter(router=router, priced_at=AT)


def outcomes(
    count: int, tiers: tuple[Tier, ...] = ("fast", "smart"), *, knows: float = 1.0, seed: int = 1
) -> list[Label]:
    """Return labelled prompts that begin with a number.

    If `knows` is 1, the number is the prompt's chance of being easy. If it is 0, the number says
    nothing.

    The dearest tier is right for all prompts, the cheaper ones for easy prompts.
    """
    draw = Random(seed)
    labels = []
    for at in range(count):
        chance = draw.randrange(1, 100) / 100
        easy = draw.random() < (chance if draw.random() < knows else 0.5)
        scores: dict[Tier, float] = {tier: float(easy) for tier in tiers[:-1]}
        scores[tiers[-1]] = 1.0
        labels.append(Label(prompt=f"{chance} of {at}", scores=scores, source="ab"[at % 2]))
    return labels
