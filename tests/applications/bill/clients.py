"""The applications of the four days, each with the SDK that a real one would use."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import anthropic
import openai

from tests.applications.bill.day import Day, ScriptedTurn

type Json = Any

_TITLE = "### Task:\nGenerate a concise, 3-5 word title with an emoji for this chat.\n### Chat History:\n{}"
_TITLE_TOKENS = 8
_WORKS = 12.0
"""Seconds that a model and its tools take."""
_READS = 30.0
"""Seconds that a user takes at least before the next turn."""
_TOOLS = ("read_file", "list_files", "search", "edit_file", "run_command", "write_file")


@dataclass(frozen=True)
class DayContext:
    """The gateway's URL, a clock that the client moves, and a provider that it scripts."""

    url: str
    wait_until: Callable[[float], None]
    plan: Callable[[str, int, int], str]
    """Takes a text, the answer's length and the rounds of tools; returns the text with its reference."""


def play(day: Day, stage: DayContext) -> None:
    """Play a day from its first turn to its last."""
    _PLAY[day.client](day, stage)


def filler(tokens: int, about: str = "page") -> str:
    """Write a text of so many tokens, as the provider counts them."""
    sentence = f"This is what stands on the {about}, in plain words and without numbers. "
    return (sentence * (tokens * 4 // len(sentence) + 1))[: tokens * 4]


@contextmanager
def _openai(stage: DayContext) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{stage.url}/v1", api_key="unused", max_retries=0) as sdk:
        yield sdk


def _ask(sdk: openai.OpenAI, messages: list[Json], **more: Json) -> str:
    """Ask for a whole answer in a stream, as chat windows do."""
    text = ""
    for chunk in sdk.chat.completions.create(model="auto", messages=messages, stream=True, **more):
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
    assert text
    return text


def _chat(day: Day, stage: DayContext) -> None:
    """A chat window: a conversation grows, and gets a title after its first answer."""
    with _openai(stage) as sdk:
        for turns in day.conversations:
            messages: list[Json] = [{"role": "system", "content": day.script["system"]}]
            for number, turn in enumerate(turns):
                stage.wait_until(turn.at)
                messages.append({"role": "user", "content": stage.plan(turn.text, turn.out, 0)})
                messages.append({"role": "assistant", "content": _ask(sdk, messages)})
                if number == 0 and day.script["titles"]:
                    title = stage.plan(_TITLE.format(f"USER: {turn.text}"), _TITLE_TOKENS, 0)
                    _ask(sdk, [{"role": "user", "content": title}])


def _rag(day: Day, stage: DayContext) -> None:
    """Play a help desk: it embeds the question, then asks with the passages that it found."""
    with _openai(stage) as sdk:
        for number, turns in enumerate(day.conversations):
            passages = filler(day.script["context"], f"pages for question {number}")
            system = f"{day.script['system']}\n\n{passages}"
            messages: list[Json] = [{"role": "system", "content": system}]
            for turn in turns:
                stage.wait_until(turn.at)
                text = stage.plan(turn.text, turn.out, 0)
                sdk.embeddings.create(model="text-embedding-3-small", input=text)
                messages.append({"role": "user", "content": text})
                messages.append({"role": "assistant", "content": _ask(sdk, messages)})


def _batch(day: Day, stage: DayContext) -> None:
    """A nightly job: each row is a prompt alone, at one temperature."""
    with _openai(stage) as sdk:
        for (turn,) in day.conversations:
            stage.wait_until(turn.at)
            answer = sdk.chat.completions.create(
                model="auto", temperature=day.script["temperature"],
                messages=[{"role": "user", "content": stage.plan(turn.text, turn.out, 0)}],
            )  # fmt: skip
            assert answer.choices[0].message.content


def _agent(day: Day, stage: DayContext) -> None:
    """A coding agent: a loop of tools, and marks for the prompt cache as Claude Code sets them."""
    mark = {"cache_control": {"type": "ephemeral"}}
    system: Json = [{"type": "text", "text": filler(day.script["instructions"], "wall"), **mark}]
    schema = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
    tools: Json = [
        {"name": name, "description": filler(60, name), "input_schema": schema} for name in _TOOLS
    ]
    with anthropic.Anthropic(
        base_url=stage.url, api_key="unused", max_retries=0,
        default_headers={"x-tiergate-lab": day.script["lab"]},
    ) as sdk:  # fmt: skip
        at = 0.0
        for turns in day.conversations:
            messages: list[Json] = []
            for turn in turns:
                at = max(turn.at, at + _READS)
                text = stage.plan(turn.text, turn.out, turn.calls)
                messages.append({"role": "user", "content": [{"type": "text", "text": text}]})
                while True:
                    stage.wait_until(at)
                    at += _WORKS
                    message = sdk.messages.create(
                        model="auto", max_tokens=8000, system=system, tools=tools, messages=_marked(messages, mark),
                    )  # fmt: skip
                    messages.append({"role": "assistant", "content": message.content})
                    if message.stop_reason != "tool_use":
                        break
                    messages.append({"role": "user", "content": _results(message, turn)})


def _marked(messages: list[Json], mark: Mapping[str, Json]) -> list[Json]:
    """Mark the last block, as Claude Code does with each request."""
    *before, last = messages
    *blocks, block = last["content"]
    return [*before, {**last, "content": [*blocks, {**block, **mark}]}]


def _results(message: anthropic.types.Message, turn: ScriptedTurn) -> list[Json]:
    return [
        {"type": "tool_result", "tool_use_id": block.id, "content": filler(turn.read, "screen")}
        for block in message.content
        if block.type == "tool_use"
    ]


_PLAY = {"chat": _chat, "rag": _rag, "agent": _agent, "batch": _batch}
