"""Names of a provider's own models: their owner, and the facts of models that no lab lists."""

from decimal import Decimal
from pathlib import Path

import pytest

from gateway.core.name_patterns import excludes_name, matches_name, may_own_name
from gateway.core.price import Price
from gateway.core.rates import Rates
from gateway.core.target import NameOwner, base_name, list_fact_names, list_price_names
from gateway.settings.model_names import is_known_name
from tests.settings import world

NAMES_LINE = '    names: ["small-*", "gpt-[0-9]*", "ft:gpt-*", "!gpt-5-oss*", "!*:free"]\n'
TEXT = world.BASE.replace("labs:\n", f"{NAMES_LINE}labs:\n")
MODELS = """\
  small-2: {context: 9, price: {input: 5, output: 6}}
  acme/small-3: {context: 7}
"""


def name_owner(folder: Path, text: str = TEXT, environ: dict[str, str] = world.ON) -> NameOwner:
    (owner,) = world.built(folder, text, environ, {}).catalogue.name_owners
    return owner


PATTERNS = ("small-*", "gpt-[0-9]*", "ft:gpt-*", "!gpt-5-oss*", "!*:free")


@pytest.mark.parametrize(
    ("name", "matches", "may_own"),
    [
        ("small-9", True, True),
        ("acme/small-9", False, True),
        ("acme/any", False, True),
        ("lab/small-9", False, True),
        ("lab/any", False, False),
        ("gpt-4o", True, True),
        ("ft:gpt-4o:me:mine:1", True, True),
        ("gpt-5-oss-1", False, False),
        ("gpt-4:free", False, False),
        ("gpt-x", False, False),
        ("other/small-9", False, False),
        ("small-9/x", False, False),
        ("small-9?x", True, False),
        ("acme", False, False),
        ("acme/../x", False, False),
        ("", False, False),
    ],
)
def test_a_name_belongs_to_the_provider_whose_patterns_match(
    name: str, matches: bool, may_own: bool
) -> None:
    """`*` matches no slash, and nobody owns a name that `!` excludes."""
    assert matches_name(PATTERNS, name) is matches
    assert may_own_name(PATTERNS, name, "acme", "lab") is may_own


def test_patterns_can_have_a_slash_and_say_which_names_they_exclude() -> None:
    assert matches_name(("*/*",), "maker/model-1")
    assert not matches_name(("*/*",), "model-1")
    assert not matches_name((), "model-1")
    assert excludes_name(PATTERNS, "x:free")
    assert not excludes_name(PATTERNS, "gpt-x")


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("gpt-4o-2024-05-13", "gpt-4o"),
        ("claude-3-7-sonnet-latest", "claude-3-7-sonnet"),
        ("gpt-4-0613", "gpt-4-0613"),
        ("m-2025092", "m-2025092"),
        ("m-20250929-x", "m-20250929-x"),
        ("latest", "latest"),
    ],
)
def test_the_base_name_leaves_out_the_date_of_a_snapshot(name: str, base: str) -> None:
    assert base_name(name) == base


@pytest.mark.parametrize(
    ("name", "price_names", "fact_names"),
    [
        ("gpt-4o", ["gpt-4o"], ["gpt-4o"]),
        ("gpt-4o-2024-08-06", ["gpt-4o-2024-08-06", "gpt-4o"], ["gpt-4o-2024-08-06", "gpt-4o"]),
        (
            "ft:gpt-4o-2024-08-06:org::id",
            ["ft:gpt-4o-2024-08-06:org::id", "ft:gpt-4o-2024-08-06", "ft:gpt-4o"],
            [
                "ft:gpt-4o-2024-08-06:org::id", "ft:gpt-4o-2024-08-06", "ft:gpt-4o",
                "gpt-4o-2024-08-06:org::id", "gpt-4o-2024-08-06", "gpt-4o",
            ],
        ),
    ],
)  # fmt: skip
def test_a_fine_tune_has_the_facts_of_its_model_and_never_its_price(
    name: str, price_names: list[str], fact_names: list[str]
) -> None:
    assert list(list_price_names(name)) == price_names
    assert list(list_fact_names(name)) == fact_names


def test_an_owner_has_the_lab_of_its_name_else_the_first_that_uses_it(tmp_path: Path) -> None:
    assert name_owner(tmp_path).lab == "acme"
    own = TEXT.replace("labs:\n", "labs:\n  ours: {fast: [{provider: acme, model: small}]}\n")
    assert name_owner(tmp_path, own).labs == ("acme", "ours")
    without_lab_of_its_name = TEXT.replace("labs:\n  acme:", "labs:\n  ours:").replace(
        "{model: small, effort: none}", "{provider: acme, model: small}"
    ).replace("{model: large}", "{provider: acme, model: large}")  # fmt: skip
    assert name_owner(tmp_path, without_lab_of_its_name).lab == "ours"
    off = name_owner(tmp_path, environ={})
    assert (off.provider.enabled, off.lab) == (False, "acme")


def test_an_unlisted_name_has_the_facts_of_its_base_name_and_the_list_price(tmp_path: Path) -> None:
    """Facts are the file's for the name, else for its base name.

    A price that no file has is the list's.
    """
    listed = Price(rates=Rates(input=Decimal(9), output=Decimal(8)), version="list")
    prices = {
        ("acme", "gpt-4o-2024-05-13"): listed,
        ("acme", "small-7"): listed,
        ("acme", "small-3"): listed,
    }
    built = world.built(tmp_path, f"{TEXT}{MODELS}", world.ON, prices)
    (owner,) = built.catalogue.name_owners

    def describe(name: str) -> tuple[int | None, str | None]:
        target = owner.targets[name]
        assert (target.model, target.is_listed, target.provider) == (name, False, owner.provider)
        return target.facts.context, None if target.price is None else target.price.version

    assert describe("small-2") == (9, "config")
    assert describe("small-2-20260101") == (9, "config")
    assert describe("small-3-latest") == (7, "list")
    assert describe("gpt-4o-2024-05-13") == (None, "list")
    assert describe("small-7-20260101") == (None, "list")
    assert describe("small-8") == (None, None)


def test_unlisted_embedding_models_have_their_own_url_and_no_window(tmp_path: Path) -> None:
    owner = name_owner(tmp_path, f"{TEXT}{MODELS}")
    assert owner.embeddings is not None
    target = owner.embeddings["small-2"]
    assert target.provider.urls == {"openai-chat": "https://acme.example/v1/embeddings"}
    assert (target.facts.context, target.is_listed) == (None, False)
    mute = name_owner(tmp_path, TEXT.replace("openai-chat: /chat/completions", "gemini: /v1beta"))
    assert mute.embeddings is not None, "Google's dialect has them"
    silent = TEXT.replace("openai-chat: /chat/completions", "anthropic-messages: /v1/messages")
    assert name_owner(tmp_path, silent).embeddings is None


def test_names_of_a_provider_without_a_lab_are_an_error(tmp_path: Path) -> None:
    text = world.BASE.replace("labs:\n", f"  lonely:\n    base_url: https://x\n    dialects: {{openai-chat: /}}\n    auth: none\n{NAMES_LINE}labs:\n")  # fmt: skip
    assert world.mistakes(tmp_path, text) == [
        "c.yaml:11: error: providers.lonely.names: needs a lab that has a target of this provider."
    ]


def test_a_model_without_a_price_has_the_one_to_reserve(tmp_path: Path) -> None:
    text = f"{TEXT}{MODELS}unknown_price: {{input: 30, output: 60}}\nunknown_output: 4000\n"
    owner = name_owner(tmp_path, text)
    known, unknown = owner.targets["small-2"], owner.targets["small-8"]
    assert (known.bound_price, known.max_output) == (None, None)
    assert (unknown.price, unknown.max_output) == (None, 4000)
    assert unknown.bound_price is not None
    assert (unknown.bound_price.rates.input, unknown.bound_price.rates.output) == (
        Decimal(30),
        Decimal(60),
    )
    assert owner.embeddings is not None
    vectors = owner.embeddings["small-8"]
    assert (vectors.bound_price, vectors.max_output) == (unknown.bound_price, None)


def test_an_alias_can_lead_to_an_unlisted_model(tmp_path: Path) -> None:
    text = f"{TEXT}aliases: {{mine: gpt-4o, other: acme/gpt-4o}}\n"
    assert world.mistakes(tmp_path, text) == []
    assert [line for line in world.unreached(tmp_path, text) if "aliases" in line] == []
    lines = world.unreached(tmp_path, f"{TEXT}aliases: {{mine: gpt-4o}}\n", {})
    assert any(
        "leads to gpt-4o, which cannot be served: none of its providers" in line for line in lines
    )
    source = world.loaded(tmp_path, TEXT)
    assert is_known_name(source, "small-9")
    assert not is_known_name(source, "gpt-x")
