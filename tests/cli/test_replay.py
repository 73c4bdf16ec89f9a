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


def make_served_row(
    folder: Path, id: str, text: str, *, model: str = "auto", **changes: Any
) -> FinalRow:
    """Return the row of a call that this configuration decided: 1,000 tokens in and 100 out."""
    built = build_config(load(config(folder), ON), OCTOBER_DAY)
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    prompt = OPENAI_CHAT.read(jsonio.dumps(body)).prompt
    recorder = DecisionRecorder(
        built.router,
        features.read(prompt, "openai-chat", OPEN_KEY, RequestOptions()),
        OPENAI_CHAT,
        DecisionContext(at=OCTOBER),
    )
    decision, plan = recorder.decide()
    target = plan.targets[0]
    plain: dict[str, Any] = {
        "at": OCTOBER, "key": "open", "asked": model, "lab": decision.lab, "tier": decision.tier,
        "source": decision.source, "rule": decision.rule, "confidence": decision.confidence,
        "provider": target.provider.name, "model": target.model, "input": 1_000, "output": 100,
        "cost": Decimal("0.0056"), "config": built.router.catalogue.version, "basis": recorder(),
    }  # fmt: skip
    return entry(id, **{**plain, **changes})


OCTOBER_DAY = datetime.fromtimestamp(OCTOBER, UTC)


def tiergate(folder: Path, *words: str, text: str = GOOD) -> Any:
    new = folder / "new.yaml"
    new.write_text(text)
    environ = {**ON, "TIERGATE_DATA": str(folder / "data")}
    return run(words[0], "--config", new, *words[1:], environ=environ)


def output_lines(result: Any) -> list[str]:
    assert result.exit_code == 0, result.output
    return [" ".join(line.split()) for line in result.stdout.splitlines()]


def test_replay_with_the_same_configuration_changes_nothing(tmp_path: Path) -> None:
    write(
        tmp_path,
        make_served_row(tmp_path, ID, "Prove it."),
        make_served_row(tmp_path, "tg-2", "hi"),
    )
    output = output_lines(tiergate(tmp_path, "replay"))
    assert output[:5] == [
        "calls fast smart reasoning USD",
        output[1],
        "before 1 0 1 0.011200",
        "after 1 0 1 0.011200",
        "",
    ]
    assert output[5] == "0 of 2 calls would go elsewhere."
    assert output[-1].startswith("2 calls in ")


def test_replay_of_a_cheaper_rule_shows_the_saving(tmp_path: Path) -> None:
    rows = [
        make_served_row(tmp_path, ID, "Prove it.", tags=("a",)),
        make_served_row(tmp_path, "tg-2", "hi", key="bob"),
    ]
    write(tmp_path, *rows)
    picture = tmp_path / "out.svg"
    output = output_lines(tiergate(tmp_path, "replay", "--picture", str(picture), text=CHEAPER))
    assert output[2:4] == ["before 1 0 1 0.011200", "after 1 1 0 0.008720"]
    assert "1 of 2 calls would go elsewhere." in output
    assert "bob 1 0 1 > 1 0 > 0 0 > 0 0.005600 0.005600" in output
    assert "a 1 1 0 > 0 0 > 1 1 > 0 0.005600 0.003120" in output
    assert (
        f"{ID} 2026-10-26 07:33 open -0.002480 reasoning acme/huge by proofs smart acme/large by proofs"
        in output
    )
    assert output[-1] == f"The picture is in {picture}."
    drawn = picture.read_text()
    assert "1 of 2 calls would go elsewhere" in drawn
    assert "prefers-color-scheme:dark" in drawn


def test_options_select_the_calls_to_replay(tmp_path: Path) -> None:
    write(
        tmp_path,
        make_served_row(tmp_path, ID, "Prove it.", tags=("a",)),
        make_served_row(tmp_path, "tg-2", "hi", key="bob"),
    )
    for words in (
        ["--key", "bob"],
        ["--only", "tag=a"],
        ["--tag", "a"],
        ["--until", "2026-10-26", "--key", "bob"],
    ):
        report = json.loads(tiergate(tmp_path, "replay", *words, "--json").stdout)
        assert (report["calls"], report["changed"]) == (1, 0)
    no_calls = tiergate(tmp_path, "replay", "--since", "2026-10-28")
    assert output_lines(no_calls) == ["No such calls in the ledger."]


def test_json_is_exact_and_lists_at_most_the_limit(tmp_path: Path) -> None:
    write(tmp_path, make_served_row(tmp_path, ID, "Prove it."))
    report = json.loads(tiergate(tmp_path, "replay", "--json", text=CHEAPER).stdout)
    assert report["usd"] == {"before": "0.0056", "after": "0.00312", "unknown": 0}
    assert [row["id"] for row in report["list"]] == [ID]
    report = json.loads(tiergate(tmp_path, "replay", "--json", "--limit", "0", text=CHEAPER).stdout)
    assert (report["changed"], report["list"]) == (1, [])


def test_money_and_quality_have_confidence_intervals(tmp_path: Path) -> None:
    """Intervals need enough calls; the report counts calls without a score separately."""
    rows = [
        make_served_row(
            tmp_path, f"tg-{number}", "Prove it." if number % 3 else "Plan a trip to Rome."
        )
        for number in range(90)
    ]
    unscored = make_served_row(tmp_path, "tg-x", "hi")
    assert unscored.basis is not None
    basis = msgspec.structs.replace(unscored.basis, score=None)
    write(tmp_path, *rows, msgspec.structs.replace(unscored, basis=basis))
    cheap = "routing: {classifier: prior, quality: 0}\n"
    text = GOOD.replace("tier: reasoning}", "tier: smart}") + cheap
    report = json.loads(tiergate(tmp_path, "replay", "--json", text=text).stdout)
    for part, convert in (("money", Decimal), ("quality", float)):
        for side in ("before", "after", "change"):
            value, low, high = (
                convert(report[part][side][figure]) for figure in ("value", "low", "high")
            )
            assert low <= value <= high
    assert Decimal(report["money"]["after"]["value"]) == Decimal(report["usd"]["after"])
    assert (report["quality"]["calls"], report["quality"]["unscored"]) == (90, 1)
    assert report["quality"]["change"]["high"] < 0
    output = output_lines(tiergate(tmp_path, "replay", text=text))
    money, quality = (
        next(line for line in output if line.startswith(start))
        for start in ("USD after: ", "Expected quality, ")
    )
    assert re.fullmatch(
        r"USD after: [\d.]+ \([\d.]+ to [\d.]+\)\. Change: -[\d.]+ \(-[\d.]+ to -[\d.]+\)\.", money
    )
    assert re.search(r"before, 0\.\d{3} \(0\.\d{3} to 0\.\d{3}\) after\. Change: -", quality)
    assert "1 call without a score: in no figure of quality." in output


def test_without_a_ledger_replay_finds_no_calls_and_creates_nothing(tmp_path: Path) -> None:
    assert output_lines(tiergate(tmp_path, "replay")) == ["No such calls in the ledger."]
    assert not (tmp_path / "data").exists()


NEW = CHEAPER.replace("keywords: prove}", "keywords: infinitely}")


def test_replay_counts_calls_without_a_text_and_reads_recorded_texts(tmp_path: Path) -> None:
    rows = [make_served_row(tmp_path, f"tg-{n}", "Are there infinitely many?") for n in range(5)]
    early = entry("tg-9", at=OCTOBER, state="refused", lab=None, tier=None, cost=Decimal(0))
    write(tmp_path, *rows, early, make_served_row(tmp_path, "tg-8", "hi", cost=None))
    reason = "calls cannot be decided again: the ledger does not have the text of the last user turn, for a new pattern."
    output = output_lines(tiergate(tmp_path, "replay", text=NEW))
    assert f"6 {reason}" in output
    assert "1 call refused before anything was decided." in output
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
        b"".join(jsonio.dumps(text_row) + b"\n" for text_row in texts)
    )
    output = output_lines(tiergate(tmp_path, "replay", text=NEW))
    assert f"4 {reason}" in output
    assert "1 call at a cost that is not known: in no sum." in output
    assert "1 of 2 calls would go elsewhere." in output


def test_replay_reports_lost_prompt_caches_and_assumed_translations(tmp_path: Path) -> None:
    cached: dict[str, Any] = {"input": 100, "cache_read": 4_000}
    write(tmp_path, make_served_row(tmp_path, ID, "Prove it.", **cached))
    text = CHEAPER.replace("{openai-chat: /chat/completions}", "{anthropic-messages: /v1/messages}")
    text = text.replace("price: {input: 3,", "price: {input: 3, cache_read: 1,")
    output = output_lines(tiergate(tmp_path, "replay", text=text))
    assert (
        "1 call counted as translatable, as plain calls are; the ledger has no check of them."
        in output
    )
    assert "Of the money, prompt caches: 0.008000 lost, 0.000000 gained." in output


@pytest.mark.parametrize("words", [("explain", ID), ("costs", "show", ID)])
def test_a_call_that_another_process_is_feeding_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """Only one process feeds at a time, and the store does not know the call before it is done."""
    write(tmp_path, make_served_row(tmp_path, ID, "Prove it."))
    defaults = SqliteStore.__init__.__kwdefaults__
    assert defaults is not None
    with feeding(tmp_path / "data" / "ledger") as other:
        monkeypatch.setitem(defaults, "sleep", other.sleep)
        result = tiergate(tmp_path, *words)
    assert (result.exit_code, len(other.waited)) == (0, WAITS), result.output


def test_explain_shows_a_recorded_call_by_its_id(tmp_path: Path) -> None:
    """The values are the same as for the call's prompt."""
    write(tmp_path, make_served_row(tmp_path, ID, "Prove it."))
    by_id = json.loads(tiergate(tmp_path, "explain", ID, "--json").stdout)
    by_text = json.loads(tiergate(tmp_path, "explain", "Prove it.", "--json").stdout)
    for step in (*by_id["trace"], *by_text["trace"]):
        step.pop("ms")
    assert by_id["plan"][0].pop("losses") is None
    assert by_text["plan"][0].pop("losses") == []
    # No row keeps the data for these two.
    assert (by_text.pop("signals"), by_text.pop("near_misses")) == ({}, [])
    assert by_id == by_text
    shown = output_lines(tiergate(tmp_path, "explain", ID))
    assert shown == output_lines(tiergate(tmp_path, "explain", "Prove it."))


def test_a_call_of_another_configuration_shows_the_contents_of_its_row(tmp_path: Path) -> None:
    write(tmp_path, make_served_row(tmp_path, ID, "Prove it."))
    report = json.loads(tiergate(tmp_path, "explain", ID, "--json", text=CHEAPER).stdout)
    assert (report["tier"], report["rule"], report["trace"]) == ("reasoning", "proofs", None)
    assert report["basis"]["signals"]["proof_words"] == 1
    assert "another configuration" in report["why"].lower()
    shown = output_lines(tiergate(tmp_path, "explain", ID, text=CHEAPER))
    assert shown[0] == "acme/reasoning by rule 'proofs'"
    assert any(line.startswith("signals {") for line in shown)
    assert "target acme/huge" in shown
    assert shown[-1].endswith("`tiergate replay` decides it with this one.")


def test_a_row_without_decision_data_says_so(tmp_path: Path) -> None:
    row = make_served_row(
        tmp_path, ID, "Prove it.", basis=None, rule=None, source=None, problem="budget"
    )
    write(tmp_path, row)
    shown = output_lines(tiergate(tmp_path, "explain", ID))
    assert shown[0] == "acme/reasoning by budget"
    assert "the ledger does not have the inputs of the decision" in shown[-1]


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_explain_repeats_the_refusal_of_a_recorded_call(tmp_path: Path, words: list[str]) -> None:
    write(tmp_path, make_served_row(tmp_path, ID, "hi", asked="nope"))
    result = tiergate(tmp_path, "explain", ID, *words)
    assert result.exit_code == 1
    assert "does not serve the model 'nope'" in result.output


def test_explain_reports_an_id_that_the_ledger_does_not_have(tmp_path: Path) -> None:
    assert "the ledger has no row of" in tiergate(tmp_path, "explain", ID).output
    write(tmp_path, make_served_row(tmp_path, "tg-2", "hi"))
    assert "the ledger has no row of" in tiergate(tmp_path, "explain", ID).output


def test_replay_applies_the_limits_of_the_new_configuration(tmp_path: Path) -> None:
    """A ceiling in the log does not count if no budget of the configuration sets one."""
    low = make_served_row(tmp_path, ID, "Prove it.", config="old")
    assert low.basis is not None
    basis = msgspec.structs.replace(
        low.basis, evidence=DecisionContext(ceiling="fast"), target="acme/small"
    )
    row = msgspec.structs.replace(low, basis=basis, tier="fast", model="small")
    write(tmp_path, row)
    assert "1 of 1 calls would go elsewhere." in output_lines(tiergate(tmp_path, "replay"))
    limited = f"""{GOOD}
routing: {{max_share: {{reasoning: 0.1}}, judge: {{model: small}}}}
budgets: [{{name: b, usd: 5, every: day, then: fast, tier: [smart, reasoning]}}]
"""
    assert "0 of 1 calls would go elsewhere." in output_lines(
        tiergate(tmp_path, "replay", text=limited)
    )
