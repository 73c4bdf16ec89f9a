"""Own traffic to label: a gateway that kept texts, a provider with a truth, and a biased judge."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from click.testing import Result

from gateway.core.ledger_rows import FinalRow
from gateway.ledger import journal
from tests.cli.run import run
from tests.e2e.upstream import Answer, Request, Upstream, frames, stream, whole
from tests.e2e.world import Loop, World, config

CAP = 400
"""Tokens of an answer at most."""
HARD = "Prove"
"""The word with which hard prompts begin."""


def is_hard(text: str) -> bool:
    """True if the fast tier fails on a prompt."""
    return text.startswith(HARD)


class ScriptedProvider:
    """A provider whose fast tier fails on hard prompts, and whose judge has a bias.

    The judge prefers right answers. Where both are alike it takes the first, as position bias does.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        """The model and the prompt of each request."""
        self.spent = (5, 5)
        """Tokens of prompt and answer that it bills."""
        self.judge: Callable[[Mapping[str, str]], str] = prefer_right
        self.fails: Callable[[str, str], int] = lambda _model, _text: 0
        """The status with which it refuses a model and a prompt; 0 answers."""

    def __call__(self, request: Request) -> Answer:
        """Answer a request."""
        body = request.json
        content = body["messages"][-1]["content"]
        text = content if isinstance(content, str) else content[0]["text"]
        self.asked.append((body["model"], text))
        if status := self.fails(body["model"], text):
            return Answer(pieces=(b'{"error":{"message":"No."}}',), status=status)
        if "response_format" in body:
            return whole(self.judge(json.loads(text)), counts=self.spent)
        is_right = body["model"] != "swift-1" or not is_hard(text)
        answer = "right" if is_right else "wrong"
        if body.get("stream"):
            return stream(*frames([answer], counts=self.spent))
        return whole(answer, counts=self.spent)


def prefer_right(shown: Mapping[str, str]) -> str:
    """Prefer the right answer; between equal ones prefer the first."""
    better = "A" if shown["A"] == shown["B"] or shown["A"] == "right" else "B"
    return json.dumps({"better": better})


class LabelScene:
    """A data folder with the calls of clients, and the commands that label them."""

    def __init__(self, folder: Path, loop: Loop, upstream: Upstream, **changes: Any) -> None:
        self.folder, self.upstream, self.loop = folder, upstream, loop
        self.provider = ScriptedProvider()
        upstream.on("/", self.provider)
        self.value = config(upstream.url)
        self.value["ledger"] = {"content": "on", "baseline": "smart"}
        self.value |= changes
        self.file = folder / "gateway.yaml"
        self.out = folder / "labels.jsonl"
        self.environ = {"TIERGATE_DATA": str(folder / "data")}

    def serve(self, bodies: Sequence[Mapping[str, Any]], **headers: str) -> None:
        """Serve calls as clients send them, through a real gateway."""
        self.post([("/v1/chat/completions", body) for body in bodies], **headers)

    def post(self, calls: Sequence[tuple[str, Mapping[str, Any]]], **headers: str) -> None:
        """Serve calls of any dialect, each with its path."""
        world = World(self.loop, self.folder, self.upstream, self.value, {})
        try:
            for path, body in calls:
                response = world.client.post(path, json={"model": "auto", **body}, headers=headers)
                assert response.status_code == 200, response.text
        finally:
            world.close()
        self.provider.asked.clear()

    def write(self) -> None:
        """Write the configuration."""
        self.file.write_text(json.dumps(self.value))

    def run(self, *words: str | Path) -> Result:
        """Run a command on this data folder."""
        self.write()
        return run("--config", self.file, *words, environ=self.environ)

    def label(self, *words: str, budget: str = "1", judge: str | None = "other/smart") -> Result:
        """Run the command `label`."""
        named = ("--person",) if judge is None else ("--judge", judge)
        return self.run(
            "label", "--budget", budget, "--max-output", str(CAP), *named, "--out", self.out, *words
        )

    @property
    def labels(self) -> list[dict[str, Any]]:
        """The rows of the labels file."""
        return [json.loads(line) for line in self.out.read_text().splitlines()]

    def read_rows(self) -> list[FinalRow]:
        """Return all final rows of the journals."""
        segments = journal.list_segments(self.folder / "data" / "ledger")
        rows = [row for path in segments for row, _ in journal.read_rows(path)]
        return [row for row in rows if isinstance(row, FinalRow)]

    @property
    def own_rows(self) -> list[FinalRow]:
        """The rows of the calls that the command made."""
        return [row for row in self.read_rows() if "label" in row.tags]


def user(text: str, **more: Any) -> dict[str, Any]:
    """Build the body of a call with one user turn."""
    return {"messages": [{"role": "user", "content": text}], **more}


def mixed(count: int) -> list[dict[str, Any]]:
    """Build calls of which every second is hard."""
    return [
        user(f"{HARD} that {number} is odd." if number % 2 else f"Say {number} in German, please.")
        for number in range(count)
    ]


@contextmanager
def open_scene(folder: Path, **changes: Any) -> Iterator[LabelScene]:
    """Yield a scene with its provider running."""
    loop, upstream = Loop(), Upstream()
    loop.run(upstream.start())
    try:
        yield LabelScene(folder, loop, upstream, **changes)
    finally:
        loop.run(upstream.stop())
        loop.close()


def count_left_out(output: str) -> dict[str, int]:
    """Return the reasons of calls that were left out, with their number."""
    line = next((line for line in output.splitlines() if line.startswith("left out")), "")
    return {reason: int(count) for count, reason in re.findall(r"(\d+) \(([^)]*)\)", line)}
