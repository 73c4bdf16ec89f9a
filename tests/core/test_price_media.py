"""Tokens that are not text cost their own rates, by direction and cache; an independent bill agrees."""

from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from random import Random

import msgspec
import pytest

from gateway.core.price import (
    Price,
    compute_baseline_cost,
    compute_bill_difference,
    compute_cost,
    compute_reservation,
    compute_token_slopes,
    explain_unknown_cost,
    list_prompt_classes,
)
from gateway.core.rates import Rates, scale_rates
from gateway.core.usage import MODALITIES, Usage
from gateway.settings import list_prices

D = Decimal
AUDIO = Rates(input=D(32), cache_read=D("0.4"), output=D(64))
IMAGE = Rates(input=D(5), cache_read=D("0.5"))
TEXT = Rates(input=D(4), cache_read=D("0.4"), output=D(16), media={"audio": AUDIO, "image": IMAGE})
PRICE = Price(rates=TEXT, version="v", as_text=frozenset())

type Truth = Counter[tuple[str, str]]
"""Tokens of an answer by the part that they stand in, and by modality: no token in two of them."""

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
ROUNDS = 6000


def make_rate(random: Random) -> Decimal | None:
    """Return a rate as price lists write them; now and then none."""
    if random.random() < 0.1:
        return None
    return D(random.randrange(1, 10 ** random.randrange(1, 7))).scaleb(-random.randrange(5))


def make_rates(random: Random, modalities: tuple[str, ...] = MODALITIES) -> Rates:
    return Rates(
        input=make_rate(random),
        cache_read=make_rate(random),
        cache_write=random.choice([None, make_rate(random)]),
        cache_write_by={"1h": rate}
        if (rate := make_rate(random)) and random.random() < 0.3
        else {},
        output=make_rate(random),
        reasoning=make_rate(random) if modalities and random.random() < 0.3 else None,
        media={name: make_rates(random, ()) for name in modalities if random.random() < 0.7},
    )


def find_listed_prices() -> list[Price]:
    """Return the listed prices that have rates of media."""
    snapshot = list_prices._load_snapshot()
    prices = [
        list_prices.find_price(provider.id, model.id, NOON)
        for provider in snapshot.providers
        for model in provider.models
    ]
    return [price for price in prices if price is not None and price.rates.media]


def make_truth(random: Random, *, split_is_told: bool) -> Truth:
    """Return tokens of each part of an answer; writes only where their modality is certain."""
    size = 10 ** random.randrange(1, 9)
    truth: Truth = Counter()
    shown = [name for name in MODALITIES if random.random() < 0.4]
    prompt_parts = ["input", "cache_read"]
    modalities = ["text", *shown]
    if random.random() < 0.3:
        prompt_parts += ["", "1h"]
        if split_is_told:  # nobody tells the modality of writes: all of the prompt has one
            modalities = [random.choice(modalities)]
    for modality in modalities:
        for part in prompt_parts:
            truth[part, modality] = random.choice([0, 1, random.randrange(size)])
    for modality in ("text", *(name for name in MODALITIES if random.random() < 0.3)):
        truth["output", modality] = random.choice([0, random.randrange(size)])
    truth["reasoning", "text"] = random.choice([0, random.randrange(size)])
    return truth


def report(truth: Truth, random: Random, *, split_is_told: bool) -> Usage:
    """Return usage as a provider reports it: totals, and the modalities in them."""
    sums: Counter[str] = Counter()
    for (part, _), tokens in truth.items():
        sums[part] += tokens
    media: Counter[str] = Counter()
    for (part, modality), tokens in truth.items():
        if modality == "text" or not tokens:
            continue
        media["output_" + modality if part == "output" else "input_" + modality] += tokens
    for modality in MODALITIES:
        if split_is_told and f"input_{modality}" in media and sums["cache_read"]:
            media[f"cache_read_{modality}"] += truth["cache_read", modality]
    names = [*media]
    random.shuffle(names)
    return Usage(
        input=sums["input"],
        cache_read=sums["cache_read"] or random.choice([0, None]),
        cache_write={name: sums[name] for name in ("", "1h") if sums[name]},
        output=sums["output"],
        reasoning=sums["reasoning"] or random.choice([0, None]),
        media={name: media[name] for name in names},
    )


def compute_bill(truth: Truth, rates: Rates, as_text: frozenset[str]) -> Fraction | None:
    """Return USD of the tokens, class by class, in fractions; None if one of them has no rate."""
    total = Fraction(0)
    for (part, modality), tokens in truth.items():
        if not tokens:
            continue
        costs_as_text = modality == "text" or (part != "output" and f"input_{modality}" in as_text)
        own = rates if costs_as_text else rates.media.get(modality)
        if own is None:
            return None
        match part:
            case "input" | "cache_read" | "output":
                rate = getattr(own, part)
            case "reasoning":
                rate = rates.output if rates.reasoning is None else rates.reasoning
            case lifetime:
                rate = own.cache_write_by.get(lifetime)
                rate = own.cache_write if rate is None else rate
                rate = own.input if rate is None else rate
        if rate is None:
            return None
        total += tokens * Fraction(rate) / 1_000_000
    return total


@pytest.fixture(scope="module")
def listed() -> list[Price]:
    return find_listed_prices()


def make_price(random: Random, listed_prices: list[Price]) -> Price:
    if random.random() < 0.5:
        return random.choice(listed_prices)
    as_text = random.choice([frozenset(), frozenset({"input_image", "cache_read_image"})])
    return Price(rates=make_rates(random), version="v", as_text=as_text)


def test_the_cost_is_that_of_an_independent_bill(listed: list[Price]) -> None:
    """Equal to the digit for thousands of usages, over listed prices and made ones."""
    random, priced = Random(26), 0
    assert len(listed) > 30
    for _ in range(ROUNDS):
        price = make_price(random, listed)
        truth = make_truth(random, split_is_told=True)
        usage = report(truth, random, split_is_told=True)
        bill = compute_bill(truth, price.find_rates(usage.prompt or 0), price.as_text)
        cost = compute_cost(usage, price)
        assert (None if cost is None else Fraction(cost)) == bill, (usage, price)
        assert (cost is None) == (explain_unknown_cost(usage, price) is not None), (usage, price)
        priced += cost is not None
    assert priced > ROUNDS // 3


def test_a_cost_without_the_split_by_cache_is_right_or_unknown(listed: list[Price]) -> None:
    """The gateway guesses no split: it knows the cost only if each split costs the same."""
    random, priced = Random(27), 0
    for _ in range(ROUNDS // 2):
        price = make_price(random, listed)
        truth = make_truth(random, split_is_told=False)
        usage = report(truth, random, split_is_told=False)
        cost = compute_cost(usage, price)
        assert (cost is None) == (explain_unknown_cost(usage, price) is not None), (usage, price)
        if cost is not None:
            bill = compute_bill(truth, price.find_rates(usage.prompt or 0), price.as_text)
            assert Fraction(cost) == bill, (usage, price)
            priced += 1
    assert priced > ROUNDS // 20


def test_a_reservation_is_never_less_than_the_cost_of_media(listed: list[Price]) -> None:
    random, bounded = Random(28), 0
    for _ in range(ROUNDS // 2):
        price = make_price(random, listed)
        truth = make_truth(random, split_is_told=True)
        usage = report(truth, random, split_is_told=True)
        prompt_media = [name for name in MODALITIES if f"input_{name}" in usage.media]
        prompt_kinds = prompt_media if random.random() < 0.5 or not prompt_media else ["file"]
        bound = compute_reservation(
            price, usage.prompt or 0, usage.completion, media=tuple(prompt_kinds)
        )
        cost = compute_cost(usage, price)
        if bound is not None and cost is not None:
            assert bound >= cost, (usage, price, prompt_kinds)
            bounded += 1
    assert bounded > ROUNDS // 10


@pytest.mark.parametrize(
    ("usage", "usd"),
    [
        # 40 of text and 60 of audio in, 10 of text and 20 of audio out
        (Usage(input=100, output=30, media={"input_audio": 60, "output_audio": 20}), "0.003520"),
        # 50 cached, 20 of them audio: 10 fresh of text, 40 fresh of audio, 30 cached of text
        (
            Usage(input=50, cache_read=50, output=0, media={"input_audio": 60, "cache_read_audio": 20}),
            "0.00134",
        ),
        # the provider says that none of the cached tokens are audio
        (
            Usage(input=70, cache_read=30, output=0, media={"input_audio": 60, "cache_read_audio": 0}),
            "0.001972",
        ),
        # it does not say: 20 of text cost 3.6 less in the cache, and 60 of audio 31.6 less
        (Usage(input=50, cache_read=30, output=0, media={"input_audio": 60}), None),
        # all of the prompt is audio, so all that is cached is audio
        (Usage(input=50, cache_read=10, output=0, media={"input_audio": 60}), "0.001604"),
        # all of the prompt is cached
        (Usage(input=0, cache_read=80, output=0, media={"input_audio": 60}), "0.000032"),
        # more of a part than there is of the whole
        (Usage(input=50, output=1, media={"input_audio": 60}), None),
        (Usage(input=50, cache_read=30, output=1, media={"input_audio": 90}), None),
        (Usage(input=5, cache_read=95, output=1, media={"input_audio": 50, "cache_read_audio": 0}), None),
        (Usage(input=50, output=1, media={"output_audio": 2}), None),
        # no rate of its own, and not text's in silence
        (Usage(input=50, output=1, media={"input_video": 1}), None),
        (Usage(input=50, output=1, media={"output_image": 1}), None),
        (Usage(input=50, output=1, media={"input_other": 1}), None),
        (Usage(input=50, cache_read=5, output=1, media={"input_video": 1}), None),
        # more in the cache than there is of the modality, or in the cache at all
        (Usage(input=50, cache_read=50, output=0, media={"input_audio": 10, "cache_read_audio": 15}), "0.00022"),
        (Usage(input=50, cache_read=10, output=0, media={"input_audio": 30, "cache_read_audio": 20}), "0.000764"),
        # what the provider says of images leaves no choice for audio
        (
            Usage(
                input=50, cache_read=50, output=0,
                media={"input_audio": 60, "input_image": 40, "cache_read_image": 20},
            ),
            "0.001082",
        ),
        # two modalities at once
        (Usage(input=100, output=0, media={"input_audio": 10, "input_image": 20}), "0.0007"),
        (Usage(input=100, output=1, media={"input_audio": 10}, tools={"web_search": 1}), None),
        # a modality that the answer does not have needs no rate
        (Usage(input=50, output=1, media={"input_video": 0, "cache_read_video": 0}), "0.000216"),
    ],
)  # fmt: skip
def test_each_class_costs_its_own_rate(usage: Usage, usd: str | None) -> None:
    cost = compute_cost(usage, PRICE)
    assert cost == (None if usd is None else D(usd))
    assert (explain_unknown_cost(usage, PRICE) is None) == (cost is not None)


@pytest.mark.parametrize(
    ("audio", "image", "usd"), [(10, 10, "0.00028"), (60, 40, "0.00039"), (60, 41, None)]
)
def test_each_unknown_split_costs_the_same_if_the_cache_saves_the_same(
    audio: int, image: int, usd: str | None
) -> None:
    """A token of audio costs 1 more than one of text, an image's 2 more, cached or not."""
    rates = Rates(
        input=D(4), cache_read=D(1), output=D(0),
        media={"audio": Rates(input=D(5), cache_read=D(2)), "image": Rates(input=D(6), cache_read=D(3))},
    )  # fmt: skip
    price = Price(rates=rates, version="v", as_text=frozenset())
    usage = Usage(
        input=50, cache_read=50, output=0, media={"input_audio": audio, "input_image": image}
    )
    assert compute_cost(usage, price) == (None if usd is None else D(usd))


UNKNOWN = [
    (Usage(input=9, cache_read=2, output=1, media={"input_audio": 3}), PRICE,
     "no count of audio tokens by cache"),
    (Usage(input=9, cache_read=2, output=1, media={"input_image": 3, "cache_read_image": 1}),
     msgspec.structs.replace(PRICE, rates=Rates(input=D(1), output=D(1), cache_read=D(1), media={"image": Rates(input=D(2))})),
     "no price of cached image tokens"),
    (Usage(input=9, cache_read=2, output=1, media={"input_image": 3}),
     msgspec.structs.replace(PRICE, rates=Rates(input=D(1), output=D(1), cache_read=D(1), media={"image": Rates(input=D(2))})),
     "no price of cached image tokens"),
    (Usage(input=9, cache_read=2, output=1, media={"input_image": 3}),
     msgspec.structs.replace(PRICE, rates=Rates(input=D(1), output=D(1), media={"image": IMAGE})),
     "no price of cached tokens"),
    (Usage(input=2, cache_write={"1h": 7}, output=1, media={"input_image": 9}),
     msgspec.structs.replace(PRICE, rates=Rates(input=D(1), output=D(1), media={"image": Rates(output=D(2))})),
     "no price of input image tokens"),
    (Usage(input=0, cache_write={"1h": 9}, output=1, media={"input_image": 9}),
     msgspec.structs.replace(PRICE, rates=Rates(input=D(1), output=D(1), media={"image": Rates(output=D(2))})),
     "no price of image cache write tokens"),
    (Usage(input=2, cache_read=2, output=1, media={"input_video": 1}), PRICE, "no price of input video tokens"),
    (Usage(input=2, output=1, media={"input_audio": 3}), PRICE, "no credible count of input audio tokens"),
    (Usage(input=2, output=1, media={"output_audio": 3}), PRICE,
     "no credible count of output tokens that are not text"),
    (Usage(input=2, output=1, reasoning=3), msgspec.structs.replace(PRICE, rates=Rates(input=D(1), reasoning=D(1))),
     "no price of output tokens"),
]  # fmt: skip


@pytest.mark.parametrize(("usage", "price", "reason"), UNKNOWN)
def test_the_gateway_says_which_part_of_an_answer_has_no_cost(
    usage: Usage, price: Price, reason: str
) -> None:
    assert compute_cost(usage, price) is None
    assert explain_unknown_cost(usage, price) == reason


def test_reasoning_may_have_a_rate_of_its_own() -> None:
    price = Price(rates=Rates(input=D(1), output=D(8), reasoning=D(3)), version="v")
    assert compute_cost(Usage(input=1_000_000, output=1_000_000), price) == 9
    used = Usage(input=1_000_000, output=1_000_000, reasoning=1_000_000)
    assert compute_cost(used, price) == 12
    assert compute_reservation(price, 1_000_000, 2_000_000) == 17
    dear = Price(rates=Rates(input=D(1), output=D(3), reasoning=D(8)), version="v")
    assert compute_reservation(dear, 1_000_000, 2_000_000) == 17
    assert compute_token_slopes(dear) == (1_000_000, 8_000_000)


def test_a_factor_scales_the_rate_of_every_class() -> None:
    rates = Rates(
        input=D(2), cache_read=D("0.2"), cache_write=D(3), cache_write_by={"1h": D(4)},
        output=D(10), reasoning=D(6), media={"audio": AUDIO},
    )  # fmt: skip
    assert scale_rates(rates, D("0.5")) == Rates(
        input=D(1), cache_read=D("0.1"), cache_write=D("1.5"), cache_write_by={"1h": D(2)},
        output=D(5), reasoning=D(3),
        media={"audio": Rates(input=D(16), cache_read=D("0.2"), output=D(32))},
    )  # fmt: skip
    assert scale_rates(Rates(), D("0.5")) == Rates()


@pytest.mark.parametrize(
    ("media", "usd"),
    [
        ((), "68"),  # text in; the answer may be audio
        (("audio",), "96"),
        (("image",), "69"),
        (("file",), "96"),  # which may be audio
        (("audio", "image"), "96"),
        (("video",), None),  # its price is not known
    ],
)
def test_a_reservation_covers_the_dearest_modality_that_a_call_may_have(
    media: tuple[str, ...], usd: str | None
) -> None:
    bound = compute_reservation(PRICE, 1_000_000, 1_000_000, media=media)
    assert bound == (None if usd is None else D(usd))


def test_a_modality_has_two_classes_in_a_prompt() -> None:
    assert list_prompt_classes(("audio", "image")) == {
        "input_audio", "cache_read_audio", "input_image", "cache_read_image",
    }  # fmt: skip


def test_tools_cost_what_they_cost_beside_media() -> None:
    price = msgspec.structs.replace(PRICE, tools={"web_search": D("0.01")})
    usage = Usage(input=1_000_000, output=0, media={"input_audio": 1_000_000})
    assert compute_cost(msgspec.structs.replace(usage, tools={"web_search": 2}), price) == D(
        "32.02"
    )
    assert compute_cost(msgspec.structs.replace(usage, tools={"maps": 2}), price) is None


def test_images_at_the_rate_of_text_need_no_rate_of_their_own() -> None:
    price = Price(rates=Rates(input=D(4), output=D(16)), version="v")
    assert compute_reservation(price, 1_000_000, 0, media=("image",)) == 4
    assert compute_reservation(price, 1_000_000, 0, media=("file",)) == 4
    assert compute_reservation(price, 1_000_000, 0, media=("audio",)) is None


def test_text_of_a_model_with_media_is_priced_in_whole_numbers() -> None:
    """Calls of text alone take the fast path, at any model."""
    assert TEXT.whole_rates is not None
    assert TEXT.whole_rates.max_output_rate == 64 * TEXT.whole_rates.input // 4
    assert compute_cost(Usage(input=1_000_000, output=1_000_000), PRICE) == 20


@pytest.mark.parametrize(
    ("billed", "computed_cost", "difference"),
    [
        ("0.5", "0.5", "0"),
        ("0.505", "0.5", "0"),
        ("0.50501", "0.5", "0.00501"),
        ("0.4", "0.5", "-0.1"),
        ("0.0000012", "0.0000003", "0"),  # a millionth
        ("0.006", "0.0065", "0"),  # rounded to a thousandth
        ("0.00600", "0.0065", "-0.0005"),
        ("0.0010", "0.00105", "0"),  # half of its last digit
        ("0.0010", "0.001056", "-0.000056"),
        ("1", "0.9", "0.1"),
        ("0", "0.0004", "-0.0004"),  # a bill of nothing is not rounded
        ("0.0", "0.0004", "-0.0004"),
        ("3", "0", "3"),
    ],
)
def test_a_bill_differs_from_the_own_sum_beyond_its_rounding(
    billed: str, computed_cost: str, difference: str
) -> None:
    assert compute_bill_difference(D(billed), D(computed_cost)) == D(difference)


def test_a_baseline_at_the_own_price_is_the_bill() -> None:
    price = Price(rates=Rates(input=D(1), output=D(1)), version="v")
    twin = Price(rates=Rates(input=D(1), output=D(1)), version="v")
    other = Price(rates=Rates(input=D(2), output=D(2)), version="w")
    usage = Usage(input=1_000_000, output=0, billed=D("0.7"))
    assert compute_baseline_cost(usage, price, price) == D("0.7")
    assert compute_baseline_cost(usage, twin, price) == D("0.7")
    assert compute_baseline_cost(usage, other, price) == 2
    served = Usage(input=1_000_000, output=0, tools={"web_search": 0})
    assert compute_baseline_cost(served, twin, price) == 1
    assert compute_baseline_cost(usage, None, None) is None
