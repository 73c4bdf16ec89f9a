"""The command `label`: labels of a provider whose truth is known, by a judge with position bias."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.dialects import ANTHROPIC_MESSAGES, GEMINI, OPENAI_RESPONSES
from gateway.evaluation.labels import read_labels
from tests.cli.label.scene import (
    CAP,
    LabelScene,
    count_left_out,
    is_hard,
    mixed,
    open_scene,
    user,
)

JUDGE = "else-1"
"""The model that the judge asks for as other/smart."""


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[LabelScene]:
    with open_scene(tmp_path) as made:
        yield made


def models_asked(scene: LabelScene) -> set[str]:
    return {model for model, _ in scene.provider.asked}


def test_labels_are_right_although_the_judge_prefers_a_position(scene: LabelScene) -> None:
    scene.serve(mixed(12))
    result = scene.label("--sample", "12")
    assert result.exit_code == 0, result.output
    for row in scene.labels:
        assert row["smart"] == 1
        # The fast tier fails on hard prompts. On others both answers are alike: the judge takes
        # the first in both orders, which is a tie and never a loss of either tier.
        assert row["fast"] == (0 if is_hard(row["prompt"]) else 0.5)
        assert [order["first"] for order in row["orders"]] == ["fast", "smart"]
    assert "6 of 12 comparisons differ by the order" in result.output


def test_a_label_says_where_it_comes_from(scene: LabelScene) -> None:
    scene.serve(mixed(2))
    scene.label("--sample", "2")
    (hard,) = [row for row in scene.labels if is_hard(row["prompt"])]
    rows = {row.id: row for row in scene.own_rows}
    assert hard["source"] == "own:default"
    assert hard["how"]["by"] == "model"
    assert hard["how"]["who"] == "other/smart"
    assert hard["how"]["served"] == "served-1"
    assert hard["draw"]["stratum_prompts"] == 1
    for tier, model in ("fast", "swift-1"), ("smart", "able-1"):
        answer = hard["answers"][tier]
        assert answer["target"] == f"acme/{model}"
        assert rows[answer["call"]].cost == Decimal(answer["cost"]) == Decimal(hard[f"{tier}_cost"])
    assert {order["call"] for order in hard["orders"]} <= set(rows)
    assert {row.tags[0] for row in rows.values()} == {"label"}
    assert hard["call"] in {row.id for row in scene.read_rows()} - set(rows)


def test_evaluate_train_and_report_take_the_labels(scene: LabelScene, tmp_path: Path) -> None:
    scene.serve(mixed(120))
    scene.value["routing"] = {"classifier": "prior", "quality": "off"}
    assert scene.label("--sample", "120", "--parallel", "8").exit_code == 0
    assert len(read_labels(scene.out)) == 120
    evaluated = scene.run("evaluate", scene.out)
    assert "Outcomes of fast, smart: 120 prompts" in evaluated.output, evaluated.output
    artefact = tmp_path / "own.tiergate"
    trained = scene.run("train", scene.out, "--out", artefact)
    assert trained.exit_code == 0, trained.output
    assert artefact.exists()
    report = scene.run("report", "--labels", scene.out, "--json")
    value = json.loads(report.output)
    assert value["quality"]["labels"] == 120
    assert value["money"]["calls"] == 120  # and none of the command's own
    assert Decimal(value["money"]["label_cost"]) == sum(row.cost or 0 for row in scene.own_rows)


def test_three_tiers_are_held_against_the_highest(scene: LabelScene) -> None:
    scene.serve(mixed(2))
    scene.label("--sample", "2", "--tiers", "fast,smart,reasoning")
    (hard,) = [row for row in scene.labels if is_hard(row["prompt"])]
    assert (hard["fast"], hard["smart"], hard["reasoning"]) == (0, 0.5, 1)
    assert len(hard["orders"]) == 4


def test_a_judge_that_sees_no_difference_makes_both_suffice(scene: LabelScene) -> None:
    scene.serve(mixed(2))
    scene.provider.judge = lambda _: '{"better": "same"}'
    scene.label("--sample", "2")
    assert [row["fast"] for row in scene.labels] == [1, 1]


def test_a_judge_that_says_something_else_makes_no_label(scene: LabelScene) -> None:
    scene.serve(mixed(2))
    scene.provider.judge = lambda _: "A is better"
    result = scene.label("--sample", "2")
    assert result.exit_code == 3
    assert scene.labels == []
    assert "2 (the judge gave no verdict)" in result.output


def test_only_user_turns_that_the_router_decided_are_drawn(scene: LabelScene) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    loop = {
        "messages": [
            {"role": "user", "content": "Look it up."},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "3"},
        ]
    }
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    media = {"messages": [{"role": "user", "content": [{"type": "text", "text": "What?"}, image]}]}
    title = user("Generate a short title for this conversation: hello")
    scene.serve(
        [user("Say it."), user("Say it."), user("Say that.", model="smart"), loop, media, title]
    )
    result = scene.label("--sample", "9")
    assert result.exit_code == 0, result.output
    by_prompt = {row["prompt"]: row for row in scene.labels}
    assert by_prompt["Say it."]["draw"]["calls"] == 2
    assert "Say that." not in by_prompt
    assert "Look it up." not in by_prompt
    left_out = count_left_out(result.output)
    assert left_out["the client chose its model"] == 1
    assert left_out["in a tool loop"] == 1
    assert left_out["media, which no text keeps"] == 1
    again = scene.label("--sample", "9")
    assert "Nothing is left to label." in again.output  # its own calls are no prompts
    assert again.exit_code == 0


def test_earlier_turns_and_the_system_prompt_are_asked_too(scene: LabelScene) -> None:
    messages = [
        {"role": "system", "content": "You are terse."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "Say 4 in German."},
    ]
    scene.serve([{"messages": messages, "stream": True, "max_tokens": 90}])
    scene.label("--sample", "1")
    fast, _, judged, _ = [request.json for request in scene.upstream.requests[-4:]]
    assert fast["messages"] == messages
    assert fast["max_completion_tokens"] == 90
    assert not fast.get("stream")
    request = json.loads(judged["messages"][-1]["content"])["request"]
    assert request.startswith("system: You are terse.\n\nuser: Hello")
    assert scene.labels[0]["prompt"] == "Say 4 in German."


@pytest.mark.parametrize("dialect", [ANTHROPIC_MESSAGES, OPENAI_RESPONSES, GEMINI])
def test_calls_of_every_dialect_are_labelled(scene: LabelScene, dialect: Any) -> None:
    text = "Prove that 7 is odd."
    path, body = {
        "anthropic-messages": ("/v1/messages", {"max_tokens": 9, **user(text)}),
        "openai-responses": ("/v1/responses", {"input": text, "stream": False}),
        "gemini": (
            "/v1beta/models/auto:generateContent",
            {"contents": [{"role": "user", "parts": [{"text": text}]}]},
        ),
    }[dialect.name]
    scene.post([(path, body)])
    result = scene.label("--sample", "1")
    assert result.exit_code == 0, result.output
    assert scene.labels[0]["prompt"] == text
    assert scene.labels[0]["fast"] == 0


def test_a_run_goes_on_where_it_was_and_pays_nothing_twice(scene: LabelScene) -> None:
    scene.serve(mixed(10))
    scene.label("--sample", "4")
    first = scene.labels
    with scene.out.open("ab") as file:
        file.write(b'{"prompt": "half a la')  # as if the machine had died here
    scene.provider.asked.clear()
    assert scene.label("--sample", "10").exit_code == 0
    assert scene.labels[:4] == first
    assert len(scene.labels) == 10
    asked = [text for model, text in scene.provider.asked if model == "swift-1"]
    assert len(asked) == 6
    assert not {row["prompt"] for row in first}.intersection(asked)


def test_a_dry_run_asks_nobody(scene: LabelScene) -> None:
    scene.serve(mixed(6))
    result = scene.label("--sample", "4", "--dry-run")
    assert result.exit_code == 0
    assert "4 prompts would be asked: about 0." in result.output
    assert scene.provider.asked == []
    assert scene.labels == []
    assert scene.own_rows == []


def test_json_has_what_was_drawn_and_done(scene: LabelScene) -> None:
    scene.serve(mixed(4))
    expected = json.loads(scene.label("--sample", "2", "--dry-run", "--json").output)
    assert expected["expected"]["prompts"] == 2
    assert Decimal(expected["expected"]["usd"]) < Decimal(expected["expected"]["at_most"])
    value = json.loads(scene.label("--sample", "2", "--json").output)
    assert (value["labels"], value["comparisons"], value["splits"]) == (2, 2, 1)
    assert value["ended_by"] is None
    assert sum(counts["drawn"] for counts in value["strata"].values()) == 2
    assert Decimal(value["charged"]) == sum(row.cost or 0 for row in scene.own_rows)
    collected = json.loads(scene.run("label", "--collect", "--json", "--out", scene.out).output)
    assert collected == {"labels": 0, "skipped": 0, "waiting": 0}


def test_a_judge_that_answers_too_is_warned_of(scene: LabelScene) -> None:
    scene.serve(mixed(2))
    result = scene.label("--sample", "2", judge="acme/smart")
    assert "acme/able-1 answers and judges: models prefer their own answers." in result.output


def test_without_texts_the_command_says_what_keeps_them(scene: LabelScene) -> None:
    scene.value["ledger"] = {}
    scene.serve(mixed(1))
    result = scene.label()
    assert result.exit_code == 1
    assert "Write `ledger: {content: on}`" in result.output


def test_a_run_ends_where_nobody_answers(scene: LabelScene) -> None:
    scene.serve(mixed(30))
    scene.provider.fails = lambda model, _: 400 if model == "swift-1" else 0
    result = scene.label("--sample", "30", "--parallel", "1")
    assert result.exit_code == 3
    assert "10 (an answer with status 400)" in result.output
    assert "The run ended early: 10 prompts in a row got no label." in result.output
    assert len(scene.provider.asked) <= 20


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--tiers", "fast"), "name two or three tiers"),
        (("--tiers", "fast,best"), "name two or three tiers"),
        (("--budget", "0"), "must be an amount above 0"),
        (("--budget", "0.0000001"), "must be an amount above 0"),
        (("--budget", "much"), "'much' is no amount"),
        (("--lab", "acne"), "no lab is called 'acne'. Did you mean 'acme'?"),
        (("--person",), "Name a model that compares with --judge, or write --person."),
    ],
)
def test_wrong_options_are_explained(
    scene: LabelScene, words: tuple[str, ...], message: str
) -> None:
    result = scene.label(*words)
    assert result.exit_code == 2
    assert message in result.output


def test_the_file_and_the_budget_are_named(scene: LabelScene) -> None:
    assert "Name the file of labels with --out." in scene.run("label").output
    result = scene.run("label", "--out", scene.out)
    assert "Name the most that the calls may cost" in result.output


def test_the_labels_are_for_their_owner_alone(scene: LabelScene) -> None:
    scene.serve(mixed(1))
    scene.label("--sample", "1")
    assert scene.out.stat().st_mode & 0o077 == 0
    assert CAP == 400
