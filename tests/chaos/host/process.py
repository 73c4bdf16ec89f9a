"""P-03 to P-07, P-15: killed, stopped or signalled processes, and files that are wrong or old."""

import asyncio
import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

from gateway.core import jsonio
from gateway.core.ledger_rows import FinalRow
from tests.chaos import provider as providers
from tests.chaos.all_clients import (
    FORMS,
    AllClients,
    Form,
    ask,
    judge_reply,
    new_prompt,
    shared_row,
)
from tests.chaos.environment import ChaosEnvironment, make_config, make_model, make_provider
from tests.chaos.gateway import Gateway
from tests.chaos.provider import Request, Wire, honest
from tests.chaos.row import Cell, Expected, Row, Seen
from tests.e2e import kill_trial
from tests.e2e.child import until
from tests.e2e.four_labs import CHAT, DIALECTS
from tests.e2e.kill_trial import ROOT

_DRAIN, _DELAY = 5.0, 0.5
"""Seconds from SIGTERM to the end, and seconds in which the gateway still takes calls."""
_EACH = 4
"""Calls of each form that run when the gateway gets SIGTERM; half of them end in time."""
_PATIENCE = 20.0


async def _short(wire: Wire, request: Request) -> None:
    """Answer in a second and a half."""
    if request.stream:
        first, *rest = providers.frames(request.dialect)
        await wire.sse()
        await wire.chunk(first)
        await asyncio.sleep(1.5)
        await wire.chunk(*rest)
        await wire.end()
        return
    await asyncio.sleep(1.5)
    await honest(wire, request)


async def _long(wire: Wire, request: Request) -> None:
    """Send an answer that never ends."""
    if request.stream:
        await wire.sse()
        frames = providers.frames(request.dialect)
        await wire.chunk(*frames[: len(frames) // 2])
    await wire.forever()


def _draining(environment: ChaosEnvironment) -> Gateway:
    value = make_config(environment)
    value["server"] = {"drain": f"{_DRAIN}s"}
    for dialect in DIALECTS:
        for kind, fault in (("short", _short), ("long", _long)):
            name = f"{kind}-{dialect}"
            value["providers"][name] = make_provider(environment, name, dialect)
            value["models"][f"m-{name}"] = make_model()
            value["labs"][name] = {"smart": [{"model": f"m-{name}", "provider": name}]}
            environment.provider.play(name, fault)
    return environment.start(value, TIERGATE_SERVER__LB_DELAY=f"{_DELAY}s")


def _drained(environment: ChaosEnvironment) -> Mapping[Form, Seen]:
    """On SIGTERM short calls end whole, long calls get an error, and no row is lost."""
    gateway = _draining(environment)
    forms = [form for form in FORMS for _ in range(_EACH)]

    def call(form: Form, kind: str) -> str:
        dialect, mode = form
        reply = gateway.ask(
            dialect, f"{kind}-{dialect}/smart", stream=mode == "stream", prompt=new_prompt()
        )
        return judge_reply(form, reply)

    with ThreadPoolExecutor(2 * len(forms) + 4) as pool:
        short = [(form, pool.submit(call, form, "short")) for form in forms]
        long = [(form, pool.submit(call, form, "long")) for form in forms]
        until(lambda: sum(count for name, count in environment.provider.hits.items()
                          if name.startswith(("short", "long"))) == 2 * len(forms), "all run")  # fmt: skip
        time.sleep(0.3)  # the streams have begun
        gateway.child.signal(signal.SIGTERM)
        began = time.monotonic()
        wrong = (
            []
            if judge_reply(FORMS[0], ask(gateway, FORMS[0])) == "answer"
            else ["refused before its delay"]
        )
        until(lambda: _closed(gateway), "it takes no connections", _PATIENCE)
        if time.monotonic() - began < 0.9 * _DELAY:
            wrong.append("closed before its delay")
        until(gateway.gone, "its end", _DRAIN + 10)
        took = time.monotonic() - began
        whole = {form: {future.result() for at, future in short if at == form} for form in FORMS}
        cut = {form: {future.result() for at, future in long if at == form} for form in FORMS}
    status = gateway.child.stop()
    wrong += [] if status == 0 else [f"exit status {status}"]
    wrong += (
        [] if took < _DRAIN + (2.0 if environment.strict else 10.0) else [f"it took {took:.1f} s"]
    )
    wrong += environment.audit_ended(gateway)
    more = f"whole {_EACH} of {_EACH}, told {_EACH} of {_EACH}"
    return {form: _ended(whole[form], cut[form], more, wrong) for form in FORMS}


def _ended(whole: set[str], cut: set[str], more: str, wrong: list[str]) -> Seen:
    bad = [client_verdict for client_verdict in whole if client_verdict != "answer"] + [
        client_verdict for client_verdict in cut if "error" not in client_verdict
    ]
    return Seen(client=", ".join(sorted(cut)), more=more, wrong=(*wrong, *bad))


def _closed(gateway: Gateway) -> bool:
    try:
        socket.create_connection(("127.0.0.1", gateway.port), 1).close()
    except OSError:
        return True
    return False


def _twice(environment: ChaosEnvironment) -> Mapping[Form, Seen]:
    """A second SIGTERM ends running calls with an error at once; the exit status is 0."""
    gateway = _draining(environment)
    with ThreadPoolExecutor(len(FORMS)) as pool:
        running = {
            form: pool.submit(
                gateway.ask,
                form[0],
                f"long-{form[0]}/smart",
                stream=form[1] == "stream",
                prompt=new_prompt(),
            )
            for form in FORMS
        }
        names = [f"long-{dialect}" for dialect in DIALECTS]
        until(
            lambda: sum(map(environment.provider.hits.__getitem__, names)) == len(FORMS), "all run"
        )
        time.sleep(0.3)  # the streams have begun
        began = time.monotonic()
        gateway.child.signal(signal.SIGTERM)
        time.sleep(0.2)  # the signal has arrived
        gateway.child.signal(signal.SIGTERM)
        until(gateway.gone, "its end", _PATIENCE)
        took = time.monotonic() - began
        verdicts = {form: judge_reply(form, item.result()) for form, item in running.items()}
    status = gateway.child.stop()
    wrong = [] if status == 0 else [f"exit status {status}"]
    wrong += [] if took < (3.0 if environment.strict else _PATIENCE) else [f"it took {took:.1f} s"]
    wrong += environment.audit_ended(gateway)
    return {form: Seen(client=item, more="at once", wrong=(*wrong, *([] if "error" in item else [item])))
            for form, item in verdicts.items()}  # fmt: skip


def _signals(environment: ChaosEnvironment) -> Mapping[Form, Seen]:
    """Signals that the gateway does not use do not end it."""
    gateway = environment.start(make_config(environment))
    clients = AllClients(gateway)
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE, signal.SIGWINCH):
        gateway.child.signal(number)
        clients.call(1)

    def heeded() -> set[str]:
        return {str(row.get("name")) for row in gateway.log() if row["event"] == "signal"}

    with suppress(AssertionError):  # the log comes between calls: a quick machine is faster
        until(lambda: len(heeded()) >= 3, "all of them told")
    lines = heeded()
    wrong = [] if lines == {"SIGHUP", "SIGUSR1", "SIGUSR2"} else [f"the log says {lines}"]
    return clients.seen(wrong=wrong)


def _killed(environment: ChaosEnvironment, _: Cell) -> Seen:
    """Play the short form of `make kill`."""
    folder = environment.folder / "kill"
    folder.mkdir()
    outcome = kill_trial.trial(folder, list(kill_trial.KINDS), "chaos")
    summary = (
        f"{len(outcome.bills)} requests billed or refused, {sum(outcome.kills.values())} kills"
    )
    return Seen(more=summary, wrong=tuple(outcome.wrong[:5]))


_GOOD = """version: 1
providers:
  p: {base_url: "http://127.0.0.1:1/x", dialects: {openai-chat: /c}, auth: none}
labs:
  l: {smart: [{model: m, provider: p}]}
"""
BAD: Mapping[str, bytes] = {
    "no YAML": b"version: 1\nlabs: [a, b\n",
    "half written": _GOOD.encode()[:-25],
    "empty": b"",
    "a list": b"- version: 1\n",
    "an unknown key": _GOOD.encode() + b"serverr: {}\n",
    "a wrong type": _GOOD.encode() + b"server: {port: many}\n",
    "a negative price": _GOOD.encode() + b"models: {m: {price: {input: -1, output: 4}}}\n",
    "a price of NaN": _GOOD.encode() + b"models: {m: {price: {input: .nan, output: 4}}}\n",
    "a key twice": _GOOD.encode() + b"server: {port: 1}\nserver: {port: 2}\n",
    "no, which is a string": _GOOD.encode() + b"default: {lab: no}\n",
    "1:30, which is no number": _GOOD.encode() + b"server: {in_flight: 1:30}\n",
    "an alias bomb": b"a: &a [x]\n" + b"".join(b"%c: &%c [*%c, *%c]\n" % (c + 1, c + 1, c, c) for c in range(97, 117)),
    "tabs": b"version:\t1\n\tlabs: {}\n",
    "no UTF-8": _GOOD.encode() + b"# \xff\xfe\n",
    "another version": _GOOD.replace("version: 1", "version: 2").encode(),
    "an address that is none": _GOOD.replace("http://127.0.0.1:1/x", "nowhere").encode(),
    "a tag of Python": _GOOD.encode() + b"x: !!python/object/apply:os.system [true]\n",
    "NUL": _GOOD.encode() + b"\0",
}  # fmt: skip


def _command(file: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "gateway", "--config", str(file), *words],
        env={**keep, "PYTHONPATH": str(ROOT), "TIERGATE_DATA": str(file.parent / "data"), **environ},
        capture_output=True, check=False, text=True, timeout=60,
    )  # fmt: skip


def _configurations(environment: ChaosEnvironment, _: Cell) -> Seen:
    """`check` and the start refuse each bad file, name its place, and start nothing."""
    wrong, count = [], 0
    for at, (name, data) in enumerate({"good": _GOOD.encode(), **BAD}.items()):
        file = environment.folder / f"bad{at}" / "gateway.yaml"
        file.parent.mkdir()
        file.write_bytes(data)
        done = _command(file, "check")
        if name == "good":
            wrong += [] if done.returncode == 0 else [f"the good one: {done.stderr}{done.stdout}"]
            continue
        count += 1
        output = done.stdout + done.stderr
        if done.returncode != 1 or "Traceback" in output or "gateway.yaml" not in output:
            wrong.append(f"{name}: {done.returncode} {output[-300:]}")
        if at % 6 == 1:
            served = _command(file, "serve", "--port", "0")
            if served.returncode != 1 or (file.parent / "data").exists():
                wrong.append(f"{name} is served: {served.returncode} {served.stderr[-300:]}")
    for name, path in (
        ("a folder", environment.folder),
        ("nothing", environment.folder / "nowhere.yaml"),
    ):
        done, count = _command(path, "check"), count + 1
        if done.returncode not in (1, 2) or "Traceback" in done.stderr:
            wrong.append(f"{name}: {done.returncode} {done.stderr[-300:]}")
    return Seen(more=f"{count} refused", wrong=tuple(wrong))


def _keys(environment: ChaosEnvironment) -> Mapping[Form, Seen]:
    """The gateway reads the key file again; after each mistake in it the old keys stay valid."""
    secret = "second-key-never-shown"
    good = f"second: {{sha256: {hashlib.sha256(secret.encode()).hexdigest()}}}\n"
    folder = environment.folder / "gateway0"
    folder.mkdir(parents=True)
    file = folder / "keys.yaml"
    file.write_text(good)
    value = make_config(environment)
    value["keys"] = "keys.yaml"
    gateway = environment.start(value)
    clients = AllClients(gateway)
    headers = {"authorization": f"Bearer {secret}"}
    bad = (
        "second: {sha256: 12}\n",
        "second: [\n",
        good + good,
        good[:30],
        "second: {sha: x}\n",
        "- a\n",
    )
    for text in bad:
        lines = len(_list_reloads(gateway))
        scratch = file.with_suffix(".new")
        scratch.write_text(text)
        scratch.rename(file)
        until(
            lambda lines=lines: len(_list_reloads(gateway)) > lines,  # type: ignore[misc]
            f"it has read {text!r}",
            _PATIENCE,
        )
        clients.call(1, headers=headers)
    file.unlink()
    clients.call(1, headers=headers)
    return clients.seen()


def _list_reloads(gateway: Gateway) -> list[object]:
    return [row for row in gateway.log() if row["event"] == "keys"]


def _prices(environment: ChaosEnvironment) -> Mapping[Form, Seen]:
    """After a start with other prices each row has the price of its own version, and its cost."""
    first = environment.start(make_config(environment))
    clients = AllClients(first)
    clients.call(2)
    old = {item.id for replies in clients.replies.values() for item in replies}
    _, wrong = environment.audit(first)
    value = make_config(environment)
    for item in value["models"].values():
        item["price"] = {"input": 10, "output": 40}
    second = environment.start(value, warm=False, TIERGATE_DATA=str(first.data))
    second.set_data_folder(first.data)
    new = AllClients(second)
    new.call(2)
    costs = {True: Decimal("0.000019"), False: Decimal("0.00019")}
    rows = [it for replies in second.all().values() for it in replies if isinstance(it, FinalRow)]
    ids = {item.id for replies in new.replies.values() for item in replies}
    for entry in rows:
        if entry.id in old | ids and entry.cost != costs[entry.id in old]:
            wrong.append(f"{entry.id} cost {entry.cost}")
    configs = {entry.config for entry in rows if entry.id in old | ids}
    wrong += [] if len(configs) == 2 else [f"versions {configs}"]
    seen = new.seen(wrong=wrong)
    second.replies = []
    second.terminate()
    environment.audit_ended(second, calls=False)
    return seen


_OLD = (
    {"kind": "intent", "v": 1, "id": "old-1", "at": 1.7e9, "key": "k", "dialect": CHAT, "lab": "l", "tier": "smart",
     "provider": "p", "model": "m", "config": "c", "reserved": "0.5"},
    {"kind": "final", "v": 1, "id": "old-2", "at": 1.7e9, "key": "k", "dialect": CHAT, "state": "settled", "status": 200,
     "lab": "l", "tier": "smart", "provider": "p", "model": "m", "cost": "0.25", "config": "c"},
    {"kind": "final", "v": 9, "id": "new-1", "at": 1.7e9, "key": "k", "dialect": CHAT, "state": "settled", "status": 200,
     "cost": "0.125", "config": "c", "of_a_later_version": {"x": [1]}},
    {"kind": "of a later version", "id": "new-2"},
)  # fmt: skip


def _aged(environment: ChaosEnvironment) -> Mapping[Form, Seen]:
    """The gateway reads journals of older and later versions, and skips garbage in them."""
    ledger = environment.folder / "gateway0" / "data" / "ledger"
    ledger.mkdir(parents=True)
    lines = [
        *map(jsonio.dumps, _OLD),
        b"\x00\xff no row",
        b"{}",
        b'{"kind":"final"}',
        b'{"kind":"intent","id":',
    ]
    (ledger / "20200101T000000-1-00000000.jsonl").write_bytes(b"\n".join(lines))
    gateway = environment.start(make_config(environment))
    clients = AllClients(gateway)
    clients.call(1)
    stored = gateway.stored()
    wrong = [] if {"old-1", "old-2", "new-1"} <= stored else [f"the store has {sorted(stored)[:5]}"]
    entry = next(it for it in gateway.all()["old-1"] if isinstance(it, FinalRow))
    wrong += [] if entry.state == "unknown_crash" else [f"an open call became {entry.state}"]
    gateway.unreported_calls |= {"old-1", "old-2", "new-1"}
    return clients.seen(wrong=wrong)


_UNNOTICED = Expected(200, "answer", None, "settled")


def _rows() -> Iterator[Row]:
    yield Row("P-03", "killed under load, two workers", "process", _killed,
              Expected(more=r"\d+ requests billed or refused, 4 kills"), own=True, dialects=(CHAT,), modes=("stream",))  # fmt: skip
    yield shared_row("P-04", "told to stop under calls", "process", _drained,
              Expected(more=f"whole {_EACH} of {_EACH}, told {_EACH} of {_EACH}"))  # fmt: skip
    yield shared_row("P-05", "told to stop twice", "process", _twice, Expected(more="at once"))
    yield shared_row("P-05", "signals that mean nothing", "process", _signals, _UNNOTICED)
    yield Row("P-06", "configurations with mistakes", "process", _configurations,
              Expected(more=f"{len(BAD) + 2} refused"), own=True, dialects=(CHAT,), modes=("whole",))  # fmt: skip
    yield shared_row(
        "P-06", "a file of keys with mistakes, under calls", "process", _keys, _UNNOTICED
    )
    yield shared_row("P-07", "started again with other prices", "process", _prices, _UNNOTICED)
    yield shared_row("P-15", "journals of other versions", "process", _aged, _UNNOTICED)


ROWS = tuple(_rows())
