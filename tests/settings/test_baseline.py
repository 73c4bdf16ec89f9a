"""`ledger.baseline`: the names that it takes, and the target that calls are compared with."""

from decimal import Decimal
from pathlib import Path

import pytest

from gateway.core.price import Price
from gateway.core.rates import Rates
from gateway.settings.baseline import build_baseline, find_warnings
from tests.settings import world

LIST = Price(rates=Rates(input=Decimal(9), output=Decimal(9)), version="list")
TEXT = """\
version: 1
providers:
  acme:
    base_url: https://acme.example/v1
    dialects: {openai-chat: /chat/completions}
    auth: none
  mirror:
    base_url: https://mirror.example/v1
    dialects: {openai-chat: /chat/completions}
    accounts: {main: "${MIRROR_KEY}"}
labs:
  acme:
    fast: [{model: small}]
    smart: [{provider: mirror, model: large}, {model: large}]
    reasoning: [{provider: mirror, model: large}]
  lone:
    smart: [{provider: acme, model: listed}]
models:
  small: {price: {input: 1, output: 2}}
  large: {price: {input: 3, output: 4}}
  mirror/old: {like: large}
  plain: {context: 9}
"""


def with_baseline(name: str) -> str:
    return f"{TEXT}ledger: {{baseline: {name}}}\n"


TARGETS: list[tuple[str, str, str | None]] = [
    # a tier of the call's own lab: its first target that is on, else its first
    ("smart", "acme", "acme/large"),
    ("smart", "lone", "acme/listed"),
    ("reasoning", "acme", "mirror/large"),
    ("fast", "lone", None),
    ("smart", "no-such-lab", None),
    # a tier of one lab, for the calls of all
    ("acme/smart", "lone", "acme/large"),
    ("lone/fast", "acme", None),
    # a model at a provider, in a tier or described alone, on or off
    ("acme/small", "lone", "acme/small"),
    ("mirror/large", "acme", "mirror/large"),
    ("mirror/old", "acme", "mirror/old"),
    ("acme/plain", "acme", "acme/plain"),
]


@pytest.mark.parametrize(("name", "lab", "target"), TARGETS)
def test_a_baseline_names_a_target_for_each_lab(
    tmp_path: Path, name: str, lab: str, target: str | None
) -> None:
    text = with_baseline(name)
    assert world.mistakes(tmp_path, text) == []
    built = world.built(tmp_path, text, {})
    find_target = build_baseline(world.loaded(tmp_path, text, {}), built)
    assert find_target is not None
    found_target = find_target(lab)
    assert (None if found_target is None else found_target.name) == target


PRICES: list[tuple[str, Decimal | None]] = [
    ("acme/small", Decimal(1)),
    ("mirror/large", Decimal(3)),
    ("mirror/old", Decimal(3)),
    ("lone/smart", Decimal(9)),
    ("acme/plain", None),
]


@pytest.mark.parametrize(("name", "usd"), PRICES)
def test_a_baseline_has_its_price_from_the_configuration_or_the_list(
    tmp_path: Path, name: str, usd: Decimal | None
) -> None:
    """A target whose provider is off has its price too: nobody calls it."""
    text = with_baseline(name)
    built = world.built(tmp_path, text, {}, {("acme", "listed"): LIST})
    find_target = build_baseline(world.loaded(tmp_path, text, {}), built)
    assert find_target is not None
    found_target = find_target("acme")
    assert found_target is not None
    assert (None if found_target.price is None else found_target.price.rates.input) == usd


@pytest.mark.parametrize("text", [TEXT, with_baseline("''"), with_baseline("")])
def test_without_a_baseline_nothing_is_compared(tmp_path: Path, text: str) -> None:
    source = world.loaded(tmp_path, text, {})
    built = world.built(tmp_path, text, {})
    assert build_baseline(source, built) is None
    assert list(find_warnings(source, built)) == []


MISTAKES: list[tuple[str, str]] = [
    ("smrt", "no model or alias is called 'smrt'. Did you mean 'smart'?"),
    ("xyz", ("no model or alias is called 'xyz'. Known: acme/large, acme/listed, acme/small, fast, "
              "mirror/large, reasoning, smart.")),
    ("acm/smart", "no lab 'acm'. Did you mean 'acme'?"),
    ("acme/smal", "no model or alias is called 'acme/smal'. Did you mean 'acme/small'?"),
    ("miror/large", "no provider 'miror'. Did you mean 'mirror/large'?"),
    ("mirrr/huge", "no provider 'mirrr'. Did you mean 'mirror'?"),
    # the name of a lab where its provider is called otherwise
    ("lone/listed", "no provider 'lone'. Did you mean 'acme/listed'?"),
    ("small", "no model or alias is called 'small'. Did you mean 'acme/small'?"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "expected"), MISTAKES)
def test_an_unknown_baseline_is_an_error_with_the_nearest_name(
    tmp_path: Path, name: str, expected: str
) -> None:
    line = f"c.yaml:23: error: ledger.baseline: {expected}"
    assert world.mistakes(tmp_path, with_baseline(name)) == [line]


def test_if_no_name_is_near_the_error_shows_how_to_write_a_baseline(tmp_path: Path) -> None:
    """The configuration has many models, and none has a name like it."""
    rows = ", ".join(f"{{model: m-{at}}}" for at in range(12))
    text = with_baseline("zzzzzzzzzzzz").replace("fast: [{model: small}]", f"fast: [{rows}]")
    (message,) = world.mistakes(tmp_path, text)
    assert message.endswith("Write it as `smart`, `openai/smart` or `openai/gpt-6-sol`.")


WARNINGS: list[tuple[str, list[str]]] = [
    ("acme/small", []),
    ("acme/plain", [("the price of acme/plain is unknown: nothing is compared with it. "
                     "Give it one under `models`.")]),
    ("fast", ["lone has no such target: its calls are compared with nothing."]),
    ("lone/reasoning", ["acme has no such target: its calls are compared with nothing.",
                        "lone has no such target: its calls are compared with nothing."]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "expected"), WARNINGS)
def test_a_baseline_that_compares_nothing_is_a_warning(
    tmp_path: Path, name: str, expected: list[str]
) -> None:
    """The warning comes once, and not for labs that are off."""
    text = with_baseline(name).replace(
        "labs:", "labs:\n  dark: {smart: [{provider: mirror, model: x}]}"
    )
    source = world.loaded(tmp_path, text, {})
    built = world.built(tmp_path, text, {}, {("acme", "listed"): LIST})
    warnings = [str(item).replace(f"{tmp_path}/", "") for item in find_warnings(source, built)]
    assert warnings == [f"c.yaml:24: warning: ledger.baseline: {line}" for line in expected]
