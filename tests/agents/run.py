"""Play a conversation against the provider alone, or through a gateway."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import httpx

from gateway.core import jsonio
from gateway.dialects import DIALECTS as WIRES
from tests.agents.host import TTL, CachingHost, HostBill, HostReply
from tests.agents.story import AgentStory, Step, StoryTurn, words
from tests.agents.wire import (
    COMPACT,
    CONTINUED,
    DIALECTS,
    PATHS,
    REMINDER,
    SUGGEST,
    Thread,
    ThreadMessage,
    side,
)  # fmt: skip
from tests.e2e.four_labs import CHAT, MESSAGES, RESPONSES
from tests.e2e.upstream import PATIENCE

type Json = dict[str, Any]

SMART = {"clay": "clay-smart", "oak": "oak-big"}
"""The model that serves a conversation when no gateway decides."""


@dataclass(frozen=True)
class Called:
    """One request and its outcome."""

    thread: str
    """The conversation's name, or the sub-agent's; empty for a title."""
    kind: str
    """One of user, loop, beside and title."""
    bill: HostBill
    source: str = ""
    tier: str = ""
    cost: Decimal | None = Decimal(0)
    """Cost of the move by the trace; None if the trace does not know it."""
    moved: bool = False


@dataclass
class Door:
    """The way to the provider. `key` opens the gateway; without one, requests go to the provider itself."""

    url: str
    host: CachingHost
    salt: str
    key: str = ""
    abroad: bool = False
    """True if each client uses a lab that does not speak its dialect."""
    calls: list[Called] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._client = httpx.Client(timeout=PATIENCE, trust_env=False)

    def close(self) -> None:
        self._client.close()

    def ask(self, client: str, body: Json, headers: dict[str, str], thread: str, kind: str) -> Json:
        """Send a request; return the whole answer."""
        dialect = DIALECTS[client]
        lab = "clay" if (client == "claude-code") is not self.abroad else "oak"
        move: Json | None = None
        sent = {**headers, "content-type": "application/json"}
        if self.key:
            body = {**body, "model": f"{lab}/auto"}
            sent["authorization"] = f"Bearer {self.key}"
            url = self.url + PATHS[dialect]
            if kind == "user":
                move = self._route(dialect, body, sent)
        else:
            body = {**body, "model": SMART[lab]}
            secret = f"{self.salt}-direct"
            sent |= (
                {"x-api-key": secret} if lab == "clay" else {"authorization": f"Bearer {secret}"}
            )
            url = f"{self.url}/{lab}{PATHS[dialect]}"
        reply = self._client.post(url, content=jsonio.dumps(body), headers=sent)
        assert reply.status_code == 200, reply.text
        whole = WIRES[dialect].fold(reply.content) if body["stream"] else reply.content
        (bill,) = self.host.bills
        self.host.bills.clear()
        source, tier = reply.headers.get("x-tiergate-decision", ""), reply.headers.get("x-tiergate-tier", "")  # fmt: skip
        source = source.partition(";")[0]
        called = Called(thread, kind, bill, source, tier)
        if move is not None:
            reason = (move["source"], move["tier"])
            assert reason == (source, tier), "the same through both doors"
            called = replace(called, **_moved(move["switch"]))
        self.calls.append(called)
        return jsonio.loads(whole)  # type: ignore[no-any-return]

    def _route(self, dialect: str, body: Json, sent: dict[str, str]) -> Json:
        """Ask the gateway for its decision, with the cost of leaving the session's target by the trace."""
        reply = self._client.post(
            f"{self.url}/v1/route?dialect={dialect}", content=jsonio.dumps(body), headers=sent
        )
        assert reply.status_code == 200, reply.text
        return reply.json()  # type: ignore[no-any-return]


class Play:
    """One story, played through one `Door`. `wait` moves the clock of all parties."""

    def __init__(self, story: AgentStory, number: int, door: Door, wait: Callable[[float], None]) -> None:  # fmt: skip
        self._story, self._door, self._wait = story, door, wait
        self._ref = f"{door.salt}{number}"
        self._asked = self._agents = 0
        ref = f"(ref {self._ref}) " if story.client == "application" else ""
        instructions = f"You help with programs. {ref}{words(story.system, number)}"
        self.main = Thread(
            client=story.client, ref=self._ref, session=f"{self._ref}-session-0123456789abcdef",
            instructions=instructions, tools=0 if ref else story.tools, stream=story.stream,
        )  # fmt: skip

    def play(self) -> None:
        for at, turn in enumerate(self._story.turns):
            if turn.gap:
                self._wait(TTL + 60)
            if at == 0 and self._story.title:
                self._title(turn.text)
            texts = self._compacted() if turn.compact else []
            self._wait(5)
            self._turn(self.main, turn, texts)

    def _title(self, text: str) -> None:
        ref = f"{self._ref}-title"
        self._door.host.replies[ref] = HostReply("A title of five words")
        body = side(self._story.client, ref, text, stream=self._story.stream)
        self._door.ask(self._story.client, body, self.main.headers(), "", "title")

    def _compacted(self) -> list[str]:
        """Summarise the conversation; return the words that its next turn begins with."""
        order, summary = COMPACT.get(self._story.client), words(150, self._ref[1:])
        if order is None:
            ref = f"{self._ref}-summary"
            self._door.host.replies[ref] = HostReply(summary)
            system = f"You are an anchored context summarization assistant. (ref {ref})"
            messages = [{"role": "system", "content": system}, {"role": "user", "content": words(400, 1)}]  # fmt: skip
            body = {"stream": False, "messages": messages}
            self._door.ask(self._story.client, body, self.main.headers(), "", "title")
        else:
            self._say(self.main, "beside", HostReply(summary), ThreadMessage(texts=[order]))
        self.main.history.clear()
        # Only Claude Code and Codex mark a summary as one; from other clients it looks like user
        # text.
        return [summary if order is None else CONTINUED + summary]

    def _turn(self, thread: Thread, turn: StoryTurn, texts: list[str]) -> None:
        if not thread.history and thread.client == "claude-code":
            texts = [REMINDER, *texts]
        if thread.client in ("codex", "claude-code"):
            for text in texts:
                thread.history.append(ThreadMessage(texts=[text]))
            texts = []
        thread.history.append(ThreadMessage(texts=[*texts, turn.text]))
        self._loop(thread, "user", turn.steps, turn.answer)
        if turn.suggest:
            self._say(thread, "beside", HostReply("Run the tests"), ThreadMessage(texts=[SUGGEST]))

    def _loop(self, thread: Thread, kind: str, steps: tuple[Step, ...], answer: int) -> None:
        for step in steps:
            calls = tuple(self._call(thread, at) for at in range(len(step.sizes)))
            message = self._say(thread, kind, HostReply("I look." if len(calls) > 1 else "", calls))
            assert len(message.calls) == len(calls)
            results = [(it["id"], words(size, it["id"][len("toolu_x") :])) for it, size in zip(message.calls, step.sizes, strict=True)]  # fmt: skip
            if step.agent is not None:
                self._agent(thread, step.agent)
            texts = [REMINDER] if step.remind and thread.client != "codex" else []
            thread.history += [message, ThreadMessage(results=results, texts=texts)]
            kind = "loop"
        thread.history.append(self._say(thread, kind, HostReply(words(answer, self._asked))))

    def _call(self, thread: Thread, at: int) -> Json:
        self._asked += 1
        id = f"toolu_{self._ref}_{self._asked}"  # equal through all doors, but for the salt
        return {"id": id, "name": f"tool_{at % max(1, thread.tools)}", "input": {"command": f"ls {self._asked}"}}  # fmt: skip

    def _agent(self, parent: Thread, steps: tuple[Step, ...]) -> None:
        self._agents += 1
        name = f"{self._ref}-agent-{self._agents}"
        thread = Thread(
            client=parent.client, ref=name, session=parent.session, agent=name,
            instructions=f"You are an agent for Claude Code. {words(700, name[1:])}", tools=3, stream=parent.stream,
        )  # fmt: skip
        turn = StoryTurn("Look around in the folder and say what each file is for.", steps, 60)
        self._turn(thread, turn, [])

    def _say(
        self, thread: Thread, kind: str, reply: HostReply, more: ThreadMessage | None = None
    ) -> ThreadMessage:
        """Ask once; return the model's answer."""
        self._door.host.replies[thread.ref] = reply
        body = thread.body("auto", more)
        whole = self._door.ask(thread.client, body, thread.headers(), thread.ref, kind)
        answer = _READ[thread.dialect](whole)
        assert "".join(answer.texts) == reply.text
        return answer


def _moved(switch: Json | None) -> Json:
    """Return the members of `Called` that record a move, from the trace."""
    if switch is None or not switch["moved"]:
        return {}
    return {"moved": True, "cost": None if switch["cost"] is None else Decimal(switch["cost"])}


def _messages(whole: Json) -> ThreadMessage:
    answer = ThreadMessage(answer=True)
    for part in whole["content"]:
        if part["type"] == "text":
            answer.texts.append(part["text"])
        else:
            answer.calls.append({**part, "arguments": jsonio.dumps(part["input"]).decode()})
    return answer


def _responses(whole: Json) -> ThreadMessage:
    answer = ThreadMessage(answer=True)
    for item in whole["output"]:
        if item["type"] == "message":
            answer.texts += [part["text"] for part in item["content"]]
        else:
            answer.calls.append({"id": item["call_id"], "name": item["name"], "arguments": item["arguments"]})  # fmt: skip
    return answer


def _chat(whole: Json) -> ThreadMessage:
    message = whole["choices"][0]["message"]
    answer = ThreadMessage(
        answer=True, texts=[message["content"]] if message.get("content") else []
    )
    for call in message.get("tool_calls") or ():
        answer.calls.append({"id": call["id"], **call["function"]})
    return answer


_READ = {MESSAGES: _messages, RESPONSES: _responses, CHAT: _chat}
