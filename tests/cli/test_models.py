"""`tiergate models`: the providers of a name, what is known of it, and what a key may do."""

import hashlib
import json
from pathlib import Path

import pytest

from tests.cli.run import GOOD, ON, config, run

OWNERS = (
    GOOD.replace(
        '    accounts: {main: "${ACME_API_KEY}"}\n',
        '    accounts: {main: "${ACME_API_KEY}"}\n'
        '    names: ["gpt-*", "ft:gpt-*"]\n'
        '    hosted_names: ["maker/*"]\n'
        "    prices: openai\n"
        "  twin:\n"
        "    base_url: https://twin.example/v1\n"
        "    dialects: {openai-chat: /chat/completions}\n"
        '    accounts: {main: "${TWIN_API_KEY:-}"}\n'
        '    hosted_names: ["maker/*"]\n',
    ).replace("smart: [{model: large}]", "smart: [{model: large}, {provider: twin, model: large}]")
    + "aliases: {mine: gpt-4o}\n"
)
BOTH_ON = {**ON, "TWIN_API_KEY": "sk-twin-0123456789"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return config(tmp_path, OWNERS)


def test_an_unlisted_name_has_its_owner_and_the_source_of_its_price(file: Path) -> None:
    result = run("--config", file, "models", "gpt-4o-2024-08-06")
    assert result.exit_code == 0, result.output
    heading, why, lab, tier, facts, price, verdict = result.stdout.splitlines()
    assert heading == "acme/gpt-4o-2024-08-06"
    assert why.split(maxsplit=1)[1] == "no lab lists it; the `names` of acme have it"
    assert (lab.split()[1], tier.split()[1]) == ("acme", "none")
    assert facts.endswith("unknown, which refuses nothing")
    assert "input 2.5, cache_read 1.25, output 10 USD per million tokens (genai-prices" in price
    assert verdict == "key open: may ask for it: acme, acme/gpt-4o-2024-08-06"


def test_a_model_that_bills_units_has_the_price_of_each(tmp_path: Path) -> None:
    models = (
        "  gpt-draw: {price: {input: 5, output: 40, units: {image: 0.04}}}\n"
        "  gpt-free: {price: {as_of: '2026-11-30'}}\n"
    )
    file = config(tmp_path, OWNERS.replace("models:\n", f"models:\n{models}"))
    named = run("--config", file, "models", "acme/whisper-1")
    assert "0.0001 USD per second (genai-prices" in named.stdout
    drawn = run("--config", file, "models", "gpt-draw")
    assert "input 5, output 40 USD per million tokens; 0.04 USD per image (gpt-draw in" in (
        drawn.stdout
    )
    assert (
        "without a rate in force (gpt-free in" in run("--config", file, "models", "gpt-free").stdout
    )
    (place,) = json.loads(run("--config", file, "models", "gpt-draw", "--json").stdout)["places"]
    assert place["unit_prices"] == {"image": "0.04"}


def test_a_listed_name_has_the_lines_of_its_facts_and_price(file: Path) -> None:
    result = run("--config", file, "models", "small", "--json")
    value = json.loads(result.stdout)
    (place,) = value["places"]
    assert (place["provider"], place["tier"], place["why"]) == ("acme", "fast", "a lab lists it")
    assert (place["facts"], place["price"]) == ({"tools": False}, {"input": "1", "output": "2"})
    assert place["facts_from"] == place["price_from"]
    assert place["facts_from"].startswith("small in ")
    assert value["allowed"]


def test_a_name_of_two_hosts_is_refused_with_both_and_their_names(file: Path) -> None:
    result = run("--config", file, "models", "maker/x", environ=BOTH_ON)
    assert result.exit_code == 1
    assert "the `hosted_names` of twin have it" in result.stdout
    assert result.stdout.splitlines()[-1] == (
        "key open: Several providers may serve the model 'maker/x'. Ask for "
        "'acme/maker/x' or 'twin/maker/x'."
    )
    named = run("--config", file, "models", "twin/any", environ=BOTH_ON)
    assert named.exit_code == 0
    assert "the name begins with twin" in named.stdout


def test_an_alias_and_a_disabled_provider_are_named(file: Path) -> None:
    assert run("--config", file, "models", "mine").stdout.startswith("mine is an alias of gpt-4o.")
    off = run("--config", file, "models", "twin/any")
    assert off.exit_code == 1
    assert "set TWIN_API_KEY" in off.stdout


def test_a_budget_says_what_it_makes_of_a_model_without_a_price(tmp_path: Path) -> None:
    budget = "budgets: [{name: all, usd: 1, every: day}]\n"
    refused = run("--config", config(tmp_path, OWNERS + budget), "models", "gpt-nobody-knows")
    assert "hard budgets refuse it (all)" in refused.stdout
    assert "unknown: its calls have no cost" in refused.stdout
    bound = "unknown_price: {input: 30, output: 60}\n"
    file = config(tmp_path, OWNERS + budget + bound)
    assert "reserve `unknown_price`" in run("--config", file, "models", "gpt-nobody-knows").stdout


def test_a_key_is_judged_by_its_scope(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"secret").hexdigest()
    keys = f"ann: {{sha256: '{digest}', tiers: [fast]}}\nbob: {{sha256: '{digest[::-1]}', models: [gpt-4o]}}\n"
    (tmp_path / "keys.yaml").write_text(keys)
    file = config(tmp_path, OWNERS + "keys: keys.yaml\n")
    refused = run("--config", file, "models", "gpt-4o", "--key", "ann")
    assert refused.exit_code == 1
    assert "key ann: This key may not use the model 'gpt-4o'" in refused.stdout
    assert run("--config", file, "models", "gpt-4o", "--key", "bob").exit_code == 0


def test_without_a_name_the_names_of_a_key_are_listed(file: Path) -> None:
    result = run("--config", file, "models")
    assert ["acme/fast", "acme"] in [line.split() for line in result.stdout.splitlines()]
    assert json.loads(run("--config", file, "models", "--json").stdout)["mine"] == "tiergate"


def test_an_unknown_name_is_refused_as_a_call_is(file: Path) -> None:
    result = run("--config", file, "models", "nosuch")
    assert result.exit_code == 1
    assert "The gateway does not serve the model 'nosuch'" in result.stdout
