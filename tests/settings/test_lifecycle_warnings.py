"""Changes that the calendar brings: retirements and price steps, thirty days ahead."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from gateway.core.price import LaterPrice, Price
from gateway.core.rates import Rates
from gateway.runtime.build import build_config
from gateway.settings.lifecycle_warnings import find_list_price_steps, find_unpriced
from tests.settings import world

LARGE = "large: {price: {input: 3, output: 4}}"
STEP = "{input: 3, output: 4, from: {2026-12-01: {input: 6, output: 4}}}"


def priced(price: str) -> str:
    return world.BASE.replace(LARGE, f"large: {{price: {price}}}")


RETIREMENTS: list[tuple[str, str, list[str]]] = [
    # another target of the tier stays, or does not
    ("{model: large}, {model: small}", "retires: 2026-12-11",
     ["large retires on 2026-12-11. Replace it by then."]),
    ("{model: large}, {model: small}", "retires: 2026-11-01",
     ["large has retired on 2026-11-01. Remove it."]),
    ("{model: large}, {model: large}", "retires: 2026-11-01",
     ["large has retired on 2026-11-01, and no target of this tier stays. Replace it."]
     * 2),
    # the successor that its maker names
    ("{model: large}, {model: small}", "retires: 2026-12-11, successor: larger",
     ["large retires on 2026-12-11. Its successor is larger."]),
    ("{model: large}", "retires: 2026-11-01, successor: larger",
     ["large has retired on 2026-11-01, and no target of this tier stays. Its successor is larger."]),
    ("{model: large}, {model: unknown}", "retires: 2027-01-14", []),
]  # fmt: skip


@pytest.mark.parametrize(("row", "fact", "expected"), RETIREMENTS)
def test_a_model_that_retires_is_a_warning_with_what_to_do(
    tmp_path: Path, row: str, fact: str, expected: list[str]
) -> None:
    text = world.BASE.replace("{model: large}", row).replace(
        "large: {price", f"large: {{{fact}, price"
    )
    warnings = [line for line in world.warnings(tmp_path, text) if "retire" in line]
    assert [line.partition("].model: ")[2] for line in warnings] == expected
    assert all(line.startswith("c.yaml:10: warning: labs.acme.smart[") for line in warnings)


def test_a_retirement_at_a_provider_that_is_off_is_no_warning(tmp_path: Path) -> None:
    text = world.BASE.replace("large: {price", "large: {retires: 2026-12-01, price")
    assert len(world.warnings(tmp_path, text)) == 1
    assert world.warnings(tmp_path, text, off=frozenset({"acme"})) == []


STEPS: list[tuple[str, list[str]]] = [
    (STEP, ["2026-12-01: the price changes on 2026-12-01: input 3 to 6. It serves acme/smart."]),
    ("{input: 3, cache_read: 0.1, output: 4, from: {2026-12-24: {input: 3, output: 0.5}}}",
     [("2026-12-24: the price changes on 2026-12-24: cache_read 0.1 to unknown, output 4 to 0.5. "
       "It serves acme/smart.")]),
    # each step is compared with the one before it
    ("{input: 3, output: 4, from: {2026-12-02: {input: 2, output: 4}, 2026-12-01: {input: 1, output: 4}}}",
     ["2026-12-01: the price changes on 2026-12-01: input 3 to 1. It serves acme/smart.",
      "2026-12-02: the price changes on 2026-12-02: input 1 to 2. It serves acme/smart."]),
    ("{input: 3, output: 4, from: {2026-12-01: {input: 3, output: 4, above: [{tokens: 1, input: 9, output: 9}]}}}",
     [("2026-12-01: the price changes on 2026-12-01: only its long-context steps. "
       "It serves acme/smart.")]),
    (("{input: 3, output: 4, tools: {a: 1, b: 2}, services: {flex: {factor: 1}}, from: {2026-12-01: "
      "{input: 3, output: 4, hours: [{utc: '01:00-02:00', input: 1, output: 1}], tools: {a: 2}}}}"),
     [("2026-12-01: the price changes on 2026-12-01: only its hours and its tools. "
       "It serves acme/smart.")]),
    ("{units: {image: 1, page: 2}, from: {2026-12-01: {units: {page: 3}}}}",
     ["2026-12-01: the price changes on 2026-12-01: only its units. It serves acme/smart."]),
    ("{units: {image: 1}, from: {2027-06-01: {}}, services: {flex: {units: {image: 2}}}}", []),
    ("{input: 3, output: 4, services: {flex: {factor: 0.5, from: {2026-12-09: 0.6, 2026-12-08: 1, 2027-02-01: 2}}}}",
     [("2026-12-08: the price of flex changes on 2026-12-08: 0.5 to 1 times. It serves acme/smart."),
      ("2026-12-09: the price of flex changes on 2026-12-09: 1 to 0.6 times. It serves acme/smart.")]),
    # a price that is not known yet is no mistake
    ("{input: 3, output: 4, from: {2026-12-01: {}}}",
     [("2026-12-01: the price changes on 2026-12-01: input 3 to unknown, output 4 to unknown. "
       "It serves acme/smart.")]),
    # today and before, and later than in thirty days
    ("{input: 3, output: 4, from: {2026-11-24: {input: 1, output: 1}, 2026-12-25: {input: 2, output: 2}}}", []),
]  # fmt: skip


@pytest.mark.parametrize(("price", "expected"), STEPS)
def test_a_price_step_within_thirty_days_is_a_warning(
    tmp_path: Path, price: str, expected: list[str]
) -> None:
    head = "c.yaml:15: warning: models.large.price."
    warnings = world.warnings(tmp_path, priced(price))
    assert [line.rpartition(".from.")[2] for line in warnings] == expected
    assert all(line.startswith(head) for line in warnings)


def test_a_price_step_is_one_warning_with_all_tiers_that_it_affects(tmp_path: Path) -> None:
    """The warning stands where the price is written: a model with `like` has that model's price."""
    text = priced(STEP).replace("smart: [{model: large}]", "smart: [{model: large}, {model: own}]")
    text = text.replace("fast: [{model: small,", "fast: [{model: other}, {model: small,")
    text += "  own: {like: large}\n  acme/other: {like: own}\n"
    assert world.warnings(tmp_path, text) == [
        (
            "c.yaml:15: warning: models.large.price.from.2026-12-01: "
            "the price changes on 2026-12-01: input 3 to 6. It serves acme/fast, acme/smart."
        )
    ]


def test_a_price_step_of_an_unused_model_is_no_warning(tmp_path: Path) -> None:
    assert world.warnings(tmp_path, priced(STEP), off=frozenset({"acme"})) == []
    text = priced(STEP).replace("model: large", "model: small")
    assert world.warnings(tmp_path, text) == []


def test_a_step_of_a_list_price_is_a_warning_at_its_target(tmp_path: Path) -> None:
    """The price is from the real list.

    There is no warning where the configuration has a price, or where the provider is off.
    """
    text = world.BASE.replace("model: large", "model: gemini-4-argon")
    text = (
        text.replace("    accounts:", "    prices: google\n    accounts:")
        + "  gemini-4-argon: {}\n"
    )
    warning = [
        str(item).replace(f"{tmp_path}/", "") for item in world.whole(tmp_path, text).warnings
    ]
    assert warning == [
        (
            "c.yaml:11: warning: labs.acme.smart[0].model: the list price of gemini-4-argon changes "
            "on 2026-12-01: input 2 to 4, cache_read 0.1 to 0.2, output 10 to 20."
        )
    ]
    assert world.whole(tmp_path, text, {}).warnings == ()
    own = text.replace("gemini-4-argon: {}", "gemini-4-argon: {price: {input: 1, output: 1}}")
    assert world.whole(tmp_path, own).warnings == ()
    (step,) = world.whole(tmp_path, priced(STEP)).warnings  # told once, where it is written
    assert step.path == "models.large.price.from.2026-12-01"
    early = build_config(world.loaded(tmp_path, text), datetime(2026, 10, 31, tzinfo=UTC))
    assert early.warnings == ()


VECTORS = "    embeddings: [{model: v}, {model: v, provider: other}, {model: w}]"
OTHER_PROVIDER = """\
  other:
    base_url: https://other.example/v1
    dialects: {openai-chat: /chat/completions}
    auth: none
labs:
"""


def with_embeddings(v: str, w: str, other: str = "") -> str:
    text = world.BASE.replace("labs:\n", OTHER_PROVIDER).replace(
        "models:\n", f"{VECTORS}\nmodels:\n"
    )
    return f"{text}  v: {{{v}}}\n  w: {{{w}}}\n{other}"


PRICE = "price: {input: 1, output: 0}"


def test_the_retirement_of_an_embedding_model_is_a_warning(tmp_path: Path) -> None:
    """No other model takes the place of one: its vectors mean nothing beside theirs."""
    text = with_embeddings(f"{PRICE}, retires: 2026-12-11", f"{PRICE}, retires: 2026-11-01")
    no_provider = "and no provider of it stays. Replace it"
    assert world.warnings(tmp_path, text) == [
        f"c.yaml:15: warning: labs.acme.embeddings[{at}].model: {message}"
        for at, message in [
            (0, f"v retires on 2026-12-11, {no_provider} by then."),
            (1, f"v retires on 2026-12-11, {no_provider} by then."),
            (2, f"w has retired on 2026-11-01, {no_provider}."),
        ]
    ]
    v_warnings = world.warnings(tmp_path, with_embeddings(f"{PRICE}, retires: 2026-12-11", PRICE))
    assert len(v_warnings) == 2  # though w stays
    assert all(
        line.endswith(f"v retires on 2026-12-11, {no_provider} by then.") for line in v_warnings
    )
    text = with_embeddings(
        f"{PRICE}, retires: 2026-12-11", PRICE, "  other/v: {like: v, retires: null}"
    )
    (message,) = world.warnings(tmp_path, text)
    assert message.endswith("v retires on 2026-12-11. Replace it by then.")


def test_a_price_step_of_an_embedding_model_is_a_warning(tmp_path: Path) -> None:
    text = with_embeddings(
        "price: {input: 1, output: 0, from: {2026-12-01: {input: 2, output: 0}}}", PRICE
    )
    (warning,) = world.warnings(tmp_path, text)
    assert warning.endswith("changes on 2026-12-01: input 1 to 2. It serves acme/embeddings.")


def test_an_embedding_model_without_a_price_is_a_warning(tmp_path: Path) -> None:
    """Each warning names the place of a target that is on."""
    text = with_embeddings("note: x", PRICE).replace("{model: large}", "{model: unheard-of}")
    source = world.loaded(tmp_path, text)
    catalogue = world.built(tmp_path, text).catalogue
    assert [
        str(item).replace(f"{tmp_path}/", "")
        for item in find_unpriced(source, catalogue, has_price_list=True)
    ] == [
        f"c.yaml:{line}: warning: labs.acme.{path}.model: the price of {name} is unknown: "
        "its calls have no cost. Give it one under `models`."
        for line, path, name in [
            (14, "smart[0]", "acme/unheard-of"),
            (15, "embeddings[0]", "acme/v"),
            (15, "embeddings[1]", "other/v"),
        ]
    ]
    off = world.built(tmp_path, text, {}).catalogue
    assert [item.path for item in find_unpriced(source, off, has_price_list=True)] == [
        "labs.acme.embeddings[1].model"
    ]


def test_without_the_price_list_one_warning_names_all_models_without_a_price(
    tmp_path: Path,
) -> None:
    """The line names each model once, however many tiers have it.

    There is no line where every model has a price.
    """
    text = with_embeddings("note: x", PRICE).replace("{model: large}", "{model: unheard-of}")
    source = world.loaded(tmp_path, text)
    catalogue = world.built(tmp_path, text).catalogue
    (warning,) = find_unpriced(source, catalogue, has_price_list=False)
    assert warning.level == "warning"
    assert f"{warning.message} {warning.hint}" == (
        "no prices are known of acme/unheard-of, acme/v, other/v: their calls have no cost. "
        "Install the list: pip install 'tiergate[prices]'; or give each a `price`."
    )
    source = world.loaded(tmp_path, world.BASE)
    assert not [
        *find_unpriced(source, world.built(tmp_path, world.BASE).catalogue, has_price_list=False)
    ]


def test_a_step_of_a_list_price_of_an_embedding_model_is_a_warning(tmp_path: Path) -> None:
    """The warning is like that for a model in a tier."""
    text = with_embeddings("note: x", PRICE)
    source = world.loaded(tmp_path, text)
    before = Price(rates=Rates(input=Decimal(1)), version="list")
    after = Price(rates=Rates(input=Decimal(3)), version="list")
    later = LaterPrice(datetime(2026, 12, 1, tzinfo=UTC).timestamp(), after)
    price = msgspec.structs.replace(before, later=(later,))
    built = world.built(tmp_path, text, prices={("acme", "v"): price})
    (warning,) = find_list_price_steps(source, built.catalogue, world.TODAY)
    assert warning.path == "labs.acme.embeddings[0].model"
    assert warning.message == "the list price of v changes on 2026-12-01: input 1 to 3."


INCOMPLETE_PRICES: list[tuple[str, str]] = [
    ("{output: 1}", ""),
    ("{input: 1, output: 1, hours: [{utc: '01:00-02:00', input: 1}]}", ".hours[0]"),
    ("{input: 1, output: 1, above: [{tokens: 1, output: 1}]}", ".above[0]"),
    ("{input: 1, output: 1, from: {2027-06-01: {input: 1}}}", ".from.2027-06-01"),
    (("{input: 1, output: 1, from: {2027-06-01: {input: 1, output: 1, hours: [{utc: '01:00-02:00', "
      "input: 1, output: 2, above: [{tokens: 3, input: 1}]}]}}}"),
     ".from.2027-06-01.hours[0].above[0]"),
    ("{input: 1, output: 1, services: {flex: {factor: 1}, fast: {input: 1}}}", ".services.fast"),
    ("{input: 1, output: 1, services: {flex: {}}}", ".services.flex"),
    ("{input: 1, output: 1, from: {2027-06-01: {input: 1, output: 1, services: {fast: {input: 1}}}}}",
     ".from.2027-06-01.services.fast"),
    # tools alone are no price
    ("{input: 1, output: 1, from: {2027-06-01: {tools: {web_search: 1}}}}", ".from.2027-06-01"),
    # units alone are one, but not beside half of the rates
    ("{input: 1, units: {image: 1}}", ""),
]  # fmt: skip


@pytest.mark.parametrize(("price", "path"), INCOMPLETE_PRICES)
def test_a_price_without_input_or_output_is_a_warning(
    tmp_path: Path, price: str, path: str
) -> None:
    assert world.warnings(tmp_path, priced(price)) == [
        (
            f"c.yaml:15: warning: models.large.price{path}: lacks `input` or `output`: "
            "calls have no cost where it is needed."
        )
    ]
