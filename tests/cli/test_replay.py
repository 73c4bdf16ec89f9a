"""The commands `replay` and `explain ID`: what would be decided today, and what was decided."""

import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.core import jsonio
from gateway.core.call import OPEN_KEY, RequestOptions
from gateway.core.decision_context import DecisionContext
from gateway.core.ledger_rows import FinalRow
from gateway.dialects import OPENAI_CHAT
from gateway.ledger.sqlite import SqliteStore
from gateway.ledger.transcripts import Transcript
from gateway.routing import features
from gateway.routing.decision_record import DecisionRecorder
from gateway.runtime.build import build_config
from gateway.settings.loader import load
from tests.cli.run import GOOD, ON, config, run
from tests.cli.test_costs_reprice import OCTOBER, write
from tests.ledger.busy import WAITS, feeding
from tests.ledger.rows import entry

ID = "tg-019ad9f5f0c7d3e8b3b0c1a"
CHEAPER = GOOD.replace("keywords: prove}, tier: reasoning", "keywords: prove}, tier: smart")


def served(folder: Path, id: str, text: str, *, model: str = "auto", **changes: Any) -> FinalRow:
    """Return the row of a call that this configuration decided: 1,000 tokens in and 100 out."""
    made = build_config(load(config(folder), ON), OCTOBER_DAY)
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    prompt = OPENAI_CHAT.read(jsonio.dumps(body)).prompt
    case = DecisionRecorder(
        made.router,
        features.read(prompt, "openai-chat", OPEN_KEY, RequestOptions()),
        OPENAI_CHAT,
        DecisionContext(at=OCTOBER),
    )
    decision, plan = case.decide()
    target = plan.targets[0]
    plain: dict[str, Any] = {
        "at": OCTOBER, "key": "open", "asked": model, "lab": decision.lab, "tier": decision.tier,
        "source": decision.source, "rule": decision.rule, "confidence": decision.confidence,
        "provider": target.provider.name, "model": target.model, "input": 1_000, "output": 100,
        "cost": Decimal("0.0056"), "config": made.router.catalogue.version, "basis": case(),
    }  # fmt: skip
    return entry(id, **{**plain, **changes})


OCTOBER_DAY = datetime.fromtimestamp(OCTOBER, UTC)


def tiergate(folder: Path, *words: str, text: str = GOOD) -> Any:
    new = folder / "new.yaml"
    new.write_text(text)
    environ = {**ON, "TIERGATE_DATA": str(folder / "data")}
    return run(words[0], "--config", new, *words[1:], environ=environ)


def lines(result: Any) -> list[str]:
    assert result.exit_code == 0, result.output
    return [" ".join(line.split()) for line in result.stdout.splitlines()]


def test_the_same_configuration_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path, served(tmp_path, ID, "Prove it."), served(tmp_path, "tg-2", "hi"))
    told = lines(tiergate(tmp_path, "replay"))
    assert told[:5] == [
        "calls fast smart reasoning USD",
        told[1],
        "before 1 0 1 0.011200",
        "after 1 0 1 0.011200",
        "",
    ]
    assert told[5] == "0 of 2 calls would go elsewhere."
    assert told[-1].startswith("2 calls in ")


def test_a_cheaper_rule_says_what_it_would_save(tmp_path: Path) -> None:
    rows = [
        served(tmp_path, ID, "Prove it.", tags=("a",)),
        served(tmp_path, "tg-2", "hi", key="bob"),
    ]
    write(tmp_path, *rows)
    picture = tmp_path / "out.svg"
    told = lines(tiergate(tmp_path, "replay", "--picture", str(picture), text=CHEAPER))
    assert told[2:4] == ["before 1 0 1 0.011200", "after 1 1 0 0.008720"]
    assert "1 of 2 calls would go elsewhere." in told
    assert "bob 1 0 1 > 1 0 > 0 0 > 0 0.005600 0.005600" in told
    assert "a 1 1 0 > 0 0 > 1 1 > 0 0.005600 0.003120" in told
    assert (
        f"{ID} 2026-10-26 07:33 open -0.002480 reasoning acme/huge by proofs smart acme/large by proofs"
        in told
    )
    assert told[-1] == f"The picture is in {picture}."
    drawn = picture.read_text()
    assert "1 of 2 calls would go elsewhere" in drawn
    assert "prefers-color-scheme:dark" in drawn


def test_calls_can_be_chosen(tmp_path: Path) -> None:
    write(
        tmp_path,
        served(tmp_path, ID, "Prove it.", tags=("a",)),
        served(tmp_path, "tg-2", "hi", key="bob"),
    )
    for words in (
        ["--key", "bob"],
        ["--only", "tag=a"],
        ["--tag", "a"],
        ["--until", "2026-10-26", "--key", "bob"],
    ):
        told = json.loads(tiergate(tmp_path, "replay", *words, "--json").stdout)
        assert (told["calls"], told["changed"]) == (1, 0)
    none = tiergate(tmp_path, "replay", "--since", "2026-10-28")
    assert lines(none) == ["No such calls in the ledger."]


def test_json_is_exact_and_lists_no_more_than_is_asked(tmp_path: Path) -> None:
    write(tmp_path, served(tmp_path, ID, "Prove it."))
    told = json.loads(tiergate(tmp_path, "replay", "--json", text=CHEAPER).stdout)
    assert told["usd"] == {"before": "0.0056", "after": "0.00312", "unknown": 0}
    assert [one["id"] for one in told["list"]] == [ID]
    told = json.loads(tiergate(tmp_path, "replay", "--json", "--limit", "0", text=CHEAPER).stdout)
    assert (told["changed"], told["list"]) == (1, [])


def test_money_and_quality_have_intervals(tmp_path: Path) -> None:
    """Intervals need enough calls; the report counts calls without a score separately."""
    rows = [
        served(tmp_path, f"tg-{number}", "Prove it." if number % 3 else "Plan a trip to Rome.")
        for number in range(90)
    ]
    unscored = served(tmp_path, "tg-x", "hi")
    assert unscored.basis is not None
    basis = msgspec.structs.replace(unscored.basis, score=None)
    write(tmp_path, *rows, msgspec.structs.replace(unscored, basis=basis))
    cheap = "routing: {classifier: prior, quality: 0}\n"
    text = GOOD.replace("tier: reasoning}", "tier: smart}") + cheap
    report = json.loads(tiergate(tmp_path, "replay", "--json", text=text).stdout)
    for part, convert in (("money", Decimal), ("quality", float)):
        for side in ("before", "after", "change"):
            value, low, high = (convert(report[part][side][it]) for it in ("value", "low", "high"))
            assert low <= value <= high
    assert Decimal(report["money"]["after"]["value"]) == Decimal(report["usd"]["after"])
    assert (report["quality"]["calls"], report["quality"]["unscored"]) == (90, 1)
    assert report["quality"]["change"]["high"] < 0
    told = lines(tiergate(tmp_path, "replay", text=text))
    money, quality = (
        next(line for line in told if line.startswith(start))
        for start in ("USD after: ", "Expected quality, ")
    )
    assert re.fullmatch(
        r"USD after: [\d.]+ \([\d.]+ to [\d.]+\)\. Change: -[\d.]+ \(-[\d.]+ to -[\d.]+\)\.", money
    )
    assert re.search(r"before, 0\.\d{3} \(0\.\d{3} to 0\.\d{3}\) after\. Change: -", quality)
    assert "1 call without a score: in no figure of quality." in told


def test_without_a_ledger_there_is_nothing(tmp_path: Path) -> None:
    assert lines(tiergate(tmp_path, "replay")) == ["No such calls in the ledger."]
    assert not (tmp_path / "data").exists()


NEW = CHEAPER.replace("keywords: prove}", "keywords: infinitely}")


def test_what_is_not_kept_is_told_and_a_kept_text_is_read(tmp_path: Path) -> None:
    rows = [served(tmp_path, f"tg-{n}", "Are there infinitely many?") for n in range(5)]
    early = entry("tg-9", at=OCTOBER, state="refused", lab=None, tier=None, cost=Decimal(0))
    write(tmp_path, *rows, early, served(tmp_path, "tg-8", "hi", cost=None))
    lack = "calls cannot be decided again: the ledger does not have the text of the last user turn, for a new pattern."
    told = lines(tiergate(tmp_path, "replay", text=NEW))
    assert f"6 {lack}" in told
    assert "1 call refused before anything was decided." in told
    folder = tmp_path / "data" / "content"
    folder.mkdir()
    body = {
        "model": "auto",
        "messages": [{"role": "user", "content": "Are there infinitely many?"}],
    }
    whole = json.dumps(body)
    texts = [
        Transcript(id="tg-0", at=OCTOBER, prompt=whole, answer=""),
        Transcript(id="tg-1", at=OCTOBER, prompt=whole, answer="", cut=True),
        Transcript(id="tg-2", at=OCTOBER, prompt="[struck out]", answer=""),
        Transcript(
            id="tg-8",
            at=OCTOBER,
            prompt=whole.replace("Are there infinitely many?", "hi"),
            answer="",
        ),
    ]
    (folder / "20261026T07-1-a.jsonl").write_bytes(
        b"".join(jsonio.dumps(one) + b"\n" for one in texts)
    )
    told = lines(tiergate(tmp_path, "replay", text=NEW))
    assert f"4 {lack}" in told
    assert "1 call at a cost that is not known: in no sum." in told
    assert "1 of 2 calls would go elsewhere." in told


def test_caches_and_what_is_taken_for_granted_are_told(tmp_path: Path) -> None:
    cached: dict[str, Any] = {"input": 100, "cache_read": 4_000}
    write(tmp_path, served(tmp_path, ID, "Prove it.", **cached))
    text = CHEAPER.replace("{openai-chat: /chat/completions}", "{anthropic-messages: /v1/messages}")
    text = text.replace("price: {input: 3,", "price: {input: 3, cache_read: 1,")
    told = lines(tiergate(tmp_path, "replay", text=text))
    assert (
        "1 call counted as translatable, as plain calls are; the ledger has no check of them."
        in told
    )
    assert "Of the money, prompt caches: 0.008000 lost, 0.000000 gained." in told


@pytest.mark.parametrize("words", [("explain", ID), ("costs", "show", ID)])
def test_a_call_that_another_process_is_feeding_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """Only one process feeds at a time, and the store does not know the call before it is done."""
    write(tmp_path, served(tmp_path, ID, "Prove it."))
    defaults = SqliteStore.__init__.__kwdefaults__
    assert defaults is not None
    with feeding(tmp_path / "data" / "ledger") as other:
        monkeypatch.setitem(defaults, "sleep", other.sleep)
        result = tiergate(tmp_path, *words)
    assert (result.exit_code, len(other.waited)) == (0, WAITS), result.output


def test_a_call_is_explained_by_its_id(tmp_path: Path) -> None:
    """The values are the same as for the call's prompt."""
    write(tmp_path, served(tmp_path, ID, "Prove it."))
    told = json.loads(tiergate(tmp_path, "explain", ID, "--json").stdout)
    asked = json.loads(tiergate(tmp_path, "explain", "Prove it.", "--json").stdout)
    for one in (*told["trace"], *asked["trace"]):
        one.pop("ms")
    assert told["plan"][0].pop("losses") is None
    assert asked["plan"][0].pop("losses") == []
    # No row keeps the data for these two.
    assert (asked.pop("signals"), asked.pop("near_misses")) == ({}, [])
    assert told == asked
    shown = lines(tiergate(tmp_path, "explain", ID))
    assert shown == lines(tiergate(tmp_path, "explain", "Prove it."))


def test_a_call_of_another_configuration_shows_what_its_row_keeps(tmp_path: Path) -> None:
    write(tmp_path, served(tmp_path, ID, "Prove it."))
    told = json.loads(tiergate(tmp_path, "explain", ID, "--json", text=CHEAPER).stdout)
    assert (told["tier"], told["rule"], told["trace"]) == ("reasoning", "proofs", None)
    assert told["basis"]["signals"]["proof_words"] == 1
    assert "another configuration" in told["why"].lower()
    shown = lines(tiergate(tmp_path, "explain", ID, text=CHEAPER))
    assert shown[0] == "acme/reasoning by rule 'proofs'"
    assert any(line.startswith("signals {") for line in shown)
    assert "target acme/huge" in shown
    assert shown[-1].endswith("`tiergate replay` decides it with this one.")


def test_a_row_that_keeps_nothing_says_so(tmp_path: Path) -> None:
    row = served(tmp_path, ID, "Prove it.", basis=None, rule=None, source=None, problem="budget")
    write(tmp_path, row)
    shown = lines(tiergate(tmp_path, "explain", ID))
    assert shown[0] == "acme/reasoning by budget"
    assert "the ledger does not have what it was decided on" in shown[-1]


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_a_refusal_is_told_again(tmp_path: Path, words: list[str]) -> None:
    write(tmp_path, served(tmp_path, ID, "hi", asked="nope"))
    result = tiergate(tmp_path, "explain", ID, *words)
    assert result.exit_code == 1
    assert "does not serve the model 'nope'" in result.output


def test_an_id_that_nobody_knows(tmp_path: Path) -> None:
    assert "the ledger has no row of" in tiergate(tmp_path, "explain", ID).output
    write(tmp_path, served(tmp_path, "tg-2", "hi"))
    assert "the ledger has no row of" in tiergate(tmp_path, "explain", ID).output


def test_what_bounds_calls_is_that_of_the_configuration(tmp_path: Path) -> None:
    """A ceiling in the log does not count if no budget of the configuration sets one."""
    low = served(tmp_path, ID, "Prove it.", config="old")
    assert low.basis is not None
    basis = msgspec.structs.replace(
        low.basis, evidence=DecisionContext(ceiling="fast"), target="acme/small"
    )
    row = msgspec.structs.replace(low, basis=basis, tier="fast", model="small")
    write(tmp_path, row)
    assert "1 of 1 calls would go elsewhere." in lines(tiergate(tmp_path, "replay"))
    bound = f"""{GOOD}
routing: {{max_share: {{reasoning: 0.1}}, judge: {{model: small}}}}
budgets: [{{name: b, usd: 5, every: day, then: fast, tier: [smart, reasoning]}}]
"""
    assert "0 of 1 calls would go elsewhere." in lines(tiergate(tmp_path, "replay", text=bound))
