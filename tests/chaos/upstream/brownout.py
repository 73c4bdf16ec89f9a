"""U-29: a provider has a bad minute: the gateway spares it, takes it back, and adds no load."""

import asyncio
import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from math import inf
from typing import Any

import anthropic
import openai
from google import genai
from google.genai import errors, types

from gateway.core.ledger_rows import FinalRow
from tests.chaos.all_clients import Form, new_prompt, shared_row
from tests.chaos.client import PROMPT, Reply
from tests.chaos.environment import ChaosEnvironment, make_config, make_model, make_provider
from tests.chaos.gateway import CLIENT_KEY, ChaosGateway
from tests.chaos.provider import Fault, FaultRequest, Wire, honest
from tests.chaos.row import Expected, FaultRow, Seen
from tests.chaos.upstream.status import says
from tests.e2e.child import until
from tests.e2e.four_labs import CHAT, DIALECTS, GEMINI, MESSAGES, RESPONSES

MOST = 1.2
"""Requests to the provider for each request that the client alone would send."""
_TRIES = {GEMINI: 1}
"""Attempts of an SDK with its default settings; the other SDKs make three."""
OPENS, HEALS = 5.0, 20.0
"""Seconds until the circuit breaker opens, and until a healthy provider gets calls again."""
_SHARES = {"all": 1.0, "half": 0.5, "a tenth": 0.1}


def _failing(share: float, seed: str) -> Fault:
    """Fail a share of the requests; the order of requests decides which, the same in each run."""
    chance = random.Random(seed)

    async def fault(wire: Wire, request: FaultRequest) -> None:
        if chance.random() < share:
            await says(chance.choice((500, 502, 503, 529)))(wire, request)
        else:
            await honest(wire, request)

    return fault


# The SDKs in the loop, with their own retries and the waits between them.

type Ask = Callable[[str, str], Awaitable[Any]]
"""Makes a call with a model and a prompt."""


@asynccontextmanager
async def _asks(url: str) -> AsyncIterator[dict[str, Ask]]:
    options = types.HttpOptions(base_url=url)
    async with (
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=CLIENT_KEY) as chat,
        anthropic.AsyncAnthropic(base_url=url, api_key=CLIENT_KEY) as claude,
        genai.Client(api_key=CLIENT_KEY, http_options=options).aio as google,
    ):
        yield {
            CHAT: lambda model, prompt: chat.chat.completions.create(
                model=model, messages=[{"role": "user", "content": prompt}]
            ),
            RESPONSES: lambda model, prompt: chat.responses.create(
                model=model, input=prompt, store=False
            ),
            MESSAGES: lambda model, prompt: claude.messages.create(
                model=model, max_tokens=99, messages=[{"role": "user", "content": prompt}]
            ),
            GEMINI: lambda model, prompt: google.models.generate_content(
                model=model, contents=prompt
            ),
        }


async def _load(url: str, labs: Mapping[str, str], rate: float, seconds: float) -> Counter[str]:
    """Start calls evenly, `rate` a second in each lab; return how many were answered, by lab."""
    good: Counter[str] = Counter()
    loop = asyncio.get_running_loop()

    async def call_once(ask: Ask, name: str, number: int) -> None:
        with contextlib.suppress(openai.APIError, anthropic.APIError, errors.APIError):
            await ask(f"{name}/smart", f"{PROMPT} Number {number}.")
            good[name] += 1

    async with _asks(url) as asks, asyncio.TaskGroup() as group:
        began = loop.time()
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
            for name, dialect in labs.items():
                group.create_task(call_once(asks[dialect], name, number))
    return good


def _lab(share: str, dialect: str) -> str:
    return f"{share.replace(' ', '-')}-{dialect}"


def amplified(rate: float, seconds: float) -> Callable[[ChaosEnvironment], Mapping[Form, Seen]]:
    """Return a play of programs at `rate` calls a second, before providers that fail in part."""

    def go(environment: ChaosEnvironment) -> Mapping[Form, Seen]:
        value, labs = make_config(environment), {}
        for share, part in _SHARES.items():
            for dialect in DIALECTS:
                name = _lab(share, dialect)
                labs[name] = dialect
                value["providers"][name] = make_provider(environment, name, dialect)
                value["models"][f"m-{name}"] = make_model()
                value["labs"][name] = {"smart": [{"model": f"m-{name}", "provider": name}]}
                environment.provider.play(name, _failing(part, name))
        gateway, each = environment.start(value), rate / len(DIALECTS)
        good = asyncio.run(_load(f"http://127.0.0.1:{gateway.port}", labs, each, seconds))
        until(lambda: _ended(gateway), "all rows", 30)
        gateway.unreported_calls.update(gateway.all())
        calls = int(each * seconds)
        return {
            (it, "whole"): _added(
                it,
                {share: environment.provider.hits[_lab(share, it)] / calls for share in _SHARES},
                {share: good[_lab(share, it)] / calls for share in _SHARES},
            )
            for it in DIALECTS
        }

    return go


def _alone(dialect: str, share: float) -> float:
    """Return the requests for each call that the SDK of a dialect would send without a gateway."""
    return sum(share**failed for failed in range(_TRIES.get(dialect, 3)))


def _added(dialect: str, factors: Mapping[str, float], good: Mapping[str, float]) -> Seen:
    """Report requests for each call, and the share of answered calls, by the share that fails."""
    factors_text = [f"{it} fail {factors[it]:.2f}x {100 * good[it]:.0f} %" for it in factors]
    wrong = [
        f"{factors[it]:.2f} requests a call where {it} fail"
        for it in factors
        if factors[it] > MOST * _alone(dialect, _SHARES[it])
    ]
    return Seen(more=", ".join(factors_text), wrong=tuple(wrong))


def _ended(gateway: ChaosGateway) -> bool:
    return all(
        any(isinstance(row, FinalRow) for row in call_rows) for call_rows in gateway.all().values()
    )


# A provider that fails for a quarter of a minute, and what clients see of it.


async def _slow(wire: Wire, request: FaultRequest) -> None:
    await asyncio.sleep(1.0)
    await honest(wire, request)


type _Made = list[tuple[float, Reply]]
"""Replies, each with the monotonic time of its request."""
type _Judge = Callable[[_Made, float, float], tuple[str, list[str]]]
"""Judges replies by the times at which the fault began and ended; returns figures and mistakes."""


def _minute(
    does: Fault, judge: _Judge, bad: float, after: float
) -> Callable[[ChaosEnvironment], Mapping[Form, Seen]]:
    """Return a play of a provider that is good, then fails, then is good again.

    Clients make up to 10 calls a second in each dialect.
    """

    def go(environment: ChaosEnvironment) -> Mapping[Form, Seen]:
        gateway = environment.start(make_config(environment))
        before, over = Counter(environment.provider.hits), threading.Event()

        def client(dialect: str) -> _Made:
            made: _Made = []
            while not over.wait(0.1):
                at = time.monotonic()
                made.append((at, gateway.ask(dialect, f"{dialect}/smart", prompt=new_prompt())))
            return made

        def play(does: Fault) -> float:
            for dialect in DIALECTS:
                environment.provider.play(dialect, does)
            return time.monotonic()

        with ThreadPoolExecutor(len(DIALECTS)) as pool:
            clients = {dialect: pool.submit(client, dialect) for dialect in DIALECTS}
            time.sleep(3)  # the fault begins under load
            broke = play(does)
            time.sleep(bad)  # the fault lasts
            healed = play(honest)
            time.sleep(after)  # the load goes on after it
            over.set()
        seen = {}
        for dialect in DIALECTS:
            made = clients[dialect].result()
            summary, wrong = judge(made, broke, healed)
            factor = (environment.provider.hits[dialect] - before[dialect]) / len(made)
            if factor > MOST:
                wrong.append(f"{factor:.2f} requests a call")
            seen[dialect, "whole"] = Seen(more=f"{summary}, {factor:.2f}x", wrong=tuple(wrong))
        return seen

    return go


def _first(made: _Made, since: float, true: Callable[[Reply], bool]) -> float:
    """Return the seconds from `since` to the first reply of which something is true."""
    return next((at - since for at, it in made if at >= since and true(it)), inf)


def _shed(reply: Reply) -> bool:
    """True if the gateway refused the call without a request to the provider."""
    return reply.status in (503, 529) and reply.headers.get("x-tiergate-attempts", "0") == "0"


def _left(made: _Made, broke: float, healed: float) -> tuple[str, list[str]]:
    """The circuit breaker opens within seconds, and a healthy provider soon gets calls again."""
    opened = _first(made, broke, _shed)
    back = _first(made, healed, lambda it: it.status == 200)
    late = {it.status for at, it in made if at > healed + back + 1}
    wrong = [
        *([f"left alone after {opened:.1f} s"] if opened > OPENS else []),
        *([f"taken back after {back:.1f} s"] if back > HEALS else []),
        *([f"then again {late}"] if late != {200} else []),
    ]
    if any("retry-after" not in it.headers for _, it in made if _shed(it)):
        wrong.append("refused without retry-after")
    return f"left alone after {opened:.1f} s, taken back after {back:.1f} s", wrong


def _served(least: float) -> _Judge:
    """The provider keeps getting requests, and at least a part `least` of the calls is answered."""

    def judge(made: _Made, broke: float, healed: float) -> tuple[str, list[str]]:
        answered = [it.status == 200 for at, it in made if broke < at < healed]
        part = sum(answered) / len(answered)
        return f"{100 * part:.0f} % answered", [] if part >= least else [f"{part:.2f} answered"]

    return judge


def _bad(does: Fault, name: str, promise: str, judge: _Judge, bad: float, after: float) -> FaultRow:
    return shared_row(
        "U-29",
        name,
        "upstream",
        _minute(does, judge, bad, after),
        Expected(promise=promise),
        modes=("whole",),
    )


ROWS: tuple[FaultRow, ...] = (
    shared_row("U-29", "SDKs at 50 calls a second for a minute", "upstream", amplified(50, 60), Expected(promise=f"at most {MOST} times the requests of the SDK alone"),
        modes=("whole",), growth=60_000_000),
    _bad(says(500), "all requests fail for 15 s", f"left alone within {OPENS:g} s, taken back within {HEALS:g}", _left, 15, 25),
    _bad(_failing(0.3, "shaky"), "three in ten fail for 15 s", "six of ten are answered", _served(0.6), 15, 20),
    _bad(_slow, "answers take a second more for 15 s", "all are answered", _served(1.0), 15, 3),
)  # fmt: skip
