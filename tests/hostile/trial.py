"""Send hostile input, set by set, to a gateway as users start it, and report each piece."""

import hashlib
import json
import math
import random
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from gateway.core import jsonio
from tests.e2e.upstream import Answer, Request, Upstream
from tests.hostile import odd
from tests.hostile.answers import answer
from tests.hostile.fields import FIELDS
from tests.hostile.injected import injected
from tests.hostile.malformed import malformed
from tests.hostile.paths import paths
from tests.hostile.smuggled import CANARY, SHOWN, honest, mutations
from tests.hostile.strings import strings
from tests.server.gate import (
    CHAT,
    CLIENT_KEY,
    GENERATE,
    MESSAGES,
    RESPONSES,
    Gate,
    GateReply,
    answers,
    check_refusal,
    family,
    request_model,
    valid_body,
)

type Outcomes = Iterator[str]
"""Empty if the gateway treated a piece of input correctly, else the mistake."""

SPOKEN = (CHAT, MESSAGES, RESPONSES, GENERATE)
"""An endpoint of each dialect."""
ADMIN_KEY = "of-an-admin-and-no-client"
OF_A_CLIENT, OF_AN_ADMIN = f"Bearer {CLIENT_KEY}", f"Bearer {ADMIN_KEY}"
WAYS = ("authorization", "x-api-key", "x-goog-api-key", "?key=")
"""Ways in which a client may send a key."""


def echo(request: Request) -> Answer:
    """Return an answer that depends on its request alone, in the request's dialect."""
    digest = hashlib.sha256(request.body).hexdigest()
    if request.path.endswith("/messages"):
        value: object = {
            "id": "m", "type": "message", "role": "assistant", "model": "served", "stop_reason": "end_turn",
            "content": [{"type": "text", "text": digest}], "usage": {"input_tokens": 1, "output_tokens": 1},
        }  # fmt: skip
    elif request.path.endswith("/responses"):
        part = {"type": "output_text", "text": digest, "annotations": []}
        item = {"type": "message", "id": "i", "role": "assistant", "status": "completed", "content": [part]}  # fmt: skip
        usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
        value = {
            "id": "r", "object": "response", "created_at": 1, "status": "completed", "model": "served",
            "output": [item], "usage": usage,
        }  # fmt: skip
    elif ":generateContent" in request.path:
        candidate = {
            "content": {"role": "model", "parts": [{"text": digest}]},
            "finishReason": "STOP",
        }
        counts = {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}
        value = {"candidates": [candidate], "usageMetadata": counts}
    else:
        choice = {"index": 0, "message": {"role": "assistant", "content": digest}, "finish_reason": "stop"}  # fmt: skip
        counts = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        value = {"id": "c", "object": "chat.completion", "created": 1, "model": "served", "choices": [choice], "usage": counts}  # fmt: skip
    data = jsonio.dumps(value)
    return Answer(pieces=(data,), length=len(data))


def written(path: str, text: str, at: int) -> bytes:
    """Return a request with a text in every field, in one of several spellings of JSON."""
    value = FIELDS[path](text)
    return json.dumps(value, ensure_ascii=at % 2 == 0, indent=at % 3 or None).encode()


def naughty(gate: Gate, provider: Upstream, path: str, every: int = 1) -> Outcomes:
    """C-18: each text in every field at once passes unchanged to the last byte."""
    for at, text in enumerate(strings(520)[::every]):
        body = written(path, text, at)
        reply = gate.ask(path, body)
        sent = provider.requests[-1].body if provider.requests else b""
        yield "" if reply.status == 200 and sent == body else f"{text!r}: {reply}"


def cached(gate: Gate, provider: Upstream, path: str, every: int = 1) -> Outcomes:
    """C-18: each text has an answer of its own, and gets it again from the cache."""
    provider.scripts.clear()
    provider.on("/", echo)
    texts = strings(520)[::every]
    first: list[GateReply] = []
    for at, text in enumerate(texts):
        reply = gate.ask(path, written(path, text, at))
        right = reply.status == 200 and reply.headers["x-tiergate-cache"] == "miss"
        first.append(reply)
        yield "" if right else f"{text!r}: {reply}"
    requests_before = len(provider.requests)
    for at, text in enumerate(texts):
        reply = gate.ask(path, written(path, text, at))
        again = reply.headers.get("x-tiergate-cache") == "hit" and reply.body == first[at].body
        yield "" if again else f"{text!r}: {reply} after {first[at]}"
    apart = len({reply.body for reply in first})
    right = (requests_before, len(provider.requests), apart) == (len(texts),) * 3
    yield (
        "" if right else f"{requests_before}, {len(provider.requests)} and {apart} of {len(texts)}"
    )


def unreadable(gate: Gate, provider: Upstream, path: str, number: int = 300) -> Outcomes:
    """C-07, C-08, C-10: the client gets 400 in its dialect, and nothing is sent on."""
    provider.requests.clear()
    for body in malformed(valid_body(path, x_own=[1.5, None, {"a": "b"}]), number):
        yield refused(gate.ask(path, body), path, 400, "The request body is not valid JSON: ", body)
    yield "" if not provider.requests else f"{provider.requests[0].body!r} was sent on"


def refused(reply: GateReply, path: str, status: int, start: str, what: object) -> str:
    """Return the mistake in a refusal, empty if there is none."""
    try:
        right = check_refusal(reply, path, status).startswith(start)
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        return f"{what!r}: {reply}: {error}"
    return "" if right else f"{what!r}: {reply}"


def smuggled(gate: Gate, number: int = 1500) -> Outcomes:
    """SEC-SMUGGLE: it is refused, its connection closed, and the canary behind it not answered."""
    for data, body in mutations(number):
        if honest(data, body):
            continue
        reply = gate.exchange(data + CANARY)
        if not reply:
            continue  # too little to be a request: the gateway closes silently
        first = answers(reply)[0].status
        yield "" if first in (200, 400, 431) and SHOWN not in reply else f"{data!r}: {reply!r}"


def locked_out(gate: Gate, number: int = 560, ways: int = 4, within: float = math.inf) -> Outcomes:
    """SEC-SQLI 1: a text as a key gets the same 401 as all, in `within` seconds, and no row."""
    before, bodies = gate.journal(), dict[str, bytes]()
    for at, text in enumerate((*injected(number), *strings(min(number, 560)))):
        key = "".join(char if " " <= char != "\x7f" else "" for char in text).strip()
        for turn in range(at, at + ways):
            way, path = WAYS[turn % 4], SPOKEN[turn // 4 % 4]
            if way == "?key=":
                path = GENERATE
            since = time.perf_counter()
            if way == "?key=":
                reply = gate.ask(f"{path}?key={quote(key or 'x', safe='')}", b"{}")
            else:
                sent = (f"Bearer {key or 'x'}" if turn % 8 < 4 else key or "x").encode()
                reply = gate.ask(path, b"{}", "POST", **{way: sent.decode("latin-1")})
            seconds = time.perf_counter() - since
            is_same_body = bodies.setdefault(family(path), reply.body) == reply.body
            wrong = refused(reply, path, 401, "", (way, key))
            yield wrong or (
                "" if is_same_body and seconds < within else f"{way} {key!r}: {seconds} s, {reply}"
            )
    yield "" if gate.journal() == before else "there are rows"


def told_apart(gate: Gate, provider: Upstream, number: int = 560) -> Outcomes:
    """SEC-SQLI 2, SEC-SSTI 3: in names, labels and headers it is text; the log stays readable."""
    for at, text in enumerate((*injected(number), *filter(None, strings(min(number, 560))))):
        path = SPOKEN[at % 4]
        yield refused(
            gate.ask(*request_model(path, text), authorization=OF_A_CLIENT), path, 404, "", text
        )
        body = {CHAT: "metadata", RESPONSES: "metadata", GENERATE: "labels"}.get(path, "x_own")
        sent = valid_body(path, **{body: {"a": text, text: "b"}, "user": text})
        header = "".join(char for char in text if " " <= char < "\x7f").strip()
        reply = gate.ask(
            path, sent, authorization=OF_A_CLIENT, idempotency_key=header, user_agent=header
        )
        right = reply.status == 200 and provider.requests[-1].body == sent
        yield "" if right else f"{text!r}: {reply}"
    for line in gate.journal().splitlines() + gate.child.err.encode().splitlines():
        row = jsonio.loads(line)
        yield "" if isinstance(row, dict) and not re.search(rb"[\x00-\x1f]", line) else repr(line)


def asked_admins(gate: Gate, number: int = 560) -> Outcomes:
    """SEC-SQLI 2: parameters of /admin match nothing or are refused; nothing is changed."""
    before = gate.ask("/admin/costs?by=key", method="GET", authorization=OF_AN_ADMIN)
    forms = (
        "costs?only=key%3A{}", "costs?only=tag%3A{}", "costs?by={}", "costs?since={}", "costs?zone={}", "costs?{}=1",
        "entries?only=model%3A{}", "entries?after={}", "entries?limit={}", "entries?format={}", "entries/{}",
        "entries?only={}",
    )  # fmt: skip
    for at, text in enumerate(injected(number)):
        form = forms[at % len(forms)]
        reply = gate.ask(
            "/admin/" + form.format(quote(text, safe="")), method="GET", authorization=OF_AN_ADMIN
        )
        has_rows = (
            reply.status == 200 and form.startswith("entries") and reply.body.count(b"\n") > 0
        )
        yield (
            "" if reply.status in (200, 400, 404) and not has_rows else f"{form} {text!r}: {reply}"
        )
    after = gate.ask("/admin/costs?by=key", method="GET", authorization=OF_AN_ADMIN)
    yield "" if after.json["total"] == before.json["total"] else f"{before} and then {after}"


_NAMED = (
    ("GET", "/v1/models/"), ("GET", "/v1beta/models/"), ("GET", "/v1/responses/"), ("DELETE", "/v1/responses/"),
    ("GET", "/admin/entries/"), ("GET", "/"),
)  # fmt: skip


def lost_ways(gate: Gate, number: int = 560, doors: int = 6) -> Outcomes:
    """SEC-PATH: names of models, answers and calls are not found, or refused."""
    for at, text in enumerate(paths(number)):
        path = SPOKEN[at % 4]
        yield refused(
            gate.ask(*request_model(path, text), authorization=OF_A_CLIENT), path, 404, "", text
        )
        name = quote(text, safe="/%" if at % 2 else "")
        for turn in range(at, at + doors):
            method, door = _NAMED[turn % len(_NAMED)]
            key = OF_AN_ADMIN if "admin" in door else OF_A_CLIENT
            reply = gate.ask(door + name, method=method, authorization=key)
            lists = reply.status == 200 and door == "/v1/models/" and not text.strip("./")
            right = reply.status in (400, 404, 405) or lists
            yield "" if right else f"{method} {door}{name}: {reply}"


MODELS = {CHAT: "able-1", MESSAGES: "claude-haiku-9", RESPONSES: "reply-9", GENERATE: "gem-9"}
"""A native model for each endpoint."""


def odd_requests(gate: Gate, path: str, model: str, number: int) -> Outcomes:
    """Promise 14: any value in place of another, native or translated: an answer or a refusal."""
    chance = random.Random(f"{path} {model}")
    base = FIELDS[path]("hello")
    for at in range(number):
        value = odd.changed(base, chance)
        if isinstance(value, dict) and path != GENERATE:
            value["model"] = model
            value |= {"stream": True} if at % 2 else {}
        url = path.replace("gem-9", model)
        if at % 2:
            url = url.replace(":generateContent", ":streamGenerateContent?alt=sse")
        reply = gate.ask(url, jsonio.dumps(value))
        is_right = reply.status in (200, 400) or _names_no_object(reply)
        yield "" if is_right else f"{url} {jsonio.dumps(value)[:2000]!r}: {reply}"


def _names_no_object(reply: GateReply) -> bool:
    """True if the gateway refuses a request for an id that its key has not made."""
    return reply.status == 404 and b"This key has made no object" in reply.body


_FAULTS = (200, 429, 502, 503, 504, 529)
"""Statuses that a client may get if a provider answers nonsense."""


def odd_answers(gate: Gate, provider: Upstream, path: str, model: str, number: int) -> Outcomes:
    """Any value in place of another in a provider's answer: an answer or an upstream error."""
    chance = random.Random(f"{path} {model} answers")
    for at in range(number):
        streamed = at % 2 == 1
        reply = answer(model, chance, streamed=streamed)
        provider.scripts.clear()
        provider.on("/", reply)
        body = valid_body(
            path, **({} if path == GENERATE else {"model": model, "stream": streamed})
        )
        door = path.replace("gem-9", model)
        if streamed:
            door = door.replace(":generateContent", ":streamGenerateContent?alt=sse")
        heard = gate.ask(door, body)
        right = heard.status in _FAULTS and b"failed on this request" not in heard.body
        yield "" if right else f"{door} was told {reply.pieces!r}: {heard}"


_WATCH = """
import os, sys
_seen = os.open({file!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
_watched = {events!r}

def _saw(event, details):
    if event in _watched:
        os.write(_seen, f"{{event}} {{details[0] if details else ''}}\\n".encode(errors="replace"))

sys.addaudithook(_saw)
"""
EVENTS = (
    "open", "os.listdir", "os.scandir", "os.remove", "os.rename", "os.mkdir", "os.chmod", "os.symlink", "os.link",
    "os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "exec", "compile", "import",
    "pickle.find_class", "marshal.loads", "ctypes.dlopen", "socket.connect", "sqlite3.connect", "sqlite3.load_extension",
)  # fmt: skip
"""Audit events of Python: files, processes, code and connections."""


def watch(file: Path) -> str:
    """Return code that a gateway runs first, so that it logs these events."""
    return _WATCH.format(file=str(file), events=EVENTS)


_MACHINE = (Path("/proc/self"), Path("/sys/fs/cgroup"))
"""Paths where a gateway reads its memory and its files, four times a second."""


def stray(file: Path, since: int, *folders: Path) -> list[str]:
    """Return events that were logged after `since`, except those in the given folders."""
    folders = (*folders, *_MACHINE)
    lines = file.read_bytes()[since:].decode().splitlines()
    return [
        line
        for line in lines
        if ".." in line
        or not any(f" {folder}" in line.replace(" file:", " ") for folder in folders)
    ]


def tally(sets: Mapping[str, Outcomes]) -> tuple[int, int]:
    """Run sets, one line each; return how many pieces passed and how many failed."""
    passed = failed = 0
    for name, outcomes in sets.items():
        results = list(outcomes)
        wrong = [result for result in results if result]
        print(f"{len(results) - len(wrong):>7} passed {len(wrong):>4} failed  {name}", flush=True)
        for mistake in wrong[:3]:
            print(f"        {mistake[:600]}")
        passed, failed = passed + len(results) - len(wrong), failed + len(wrong)
    return passed, failed
