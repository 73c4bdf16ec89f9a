"""Test probes: one tiny request to each target, its result and cost, and nothing else."""

from collections.abc import Callable
from decimal import Decimal

import httpx

from gateway.core import jsonio
from gateway.core.price import Price
from gateway.core.rates import Rates
from gateway.core.target import Account, Catalogue, Lab, Provider, Target, index_models
from gateway.upstream import probe

_PRICE = Price(rates=Rates(input=Decimal(1), output=Decimal(2)), version="v")
_CHAT = jsonio.dumps(
    {
        "id": "x", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "OK"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12},
    }
)  # fmt: skip
_MESSAGES = jsonio.dumps(
    {
        "id": "x", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "OK"}], "usage": {"input_tokens": 10, "output_tokens": 2},
    }
)  # fmt: skip


def provider(name: str, dialect: str = "openai-chat", **more: object) -> Provider:
    values = {"accounts": (Account("main", f"sk-{name}"),), **more}
    return Provider(name=name, urls={dialect: f"https://{name}.example/v1"}, **values)  # type: ignore[arg-type]


def catalogue(**tiers: list[Target]) -> Catalogue:
    rows = {"fast": (), "smart": (), "reasoning": (), **{k: tuple(v) for k, v in tiers.items()}}
    labs = {"l": Lab(name="l", tiers=rows)}  # type: ignore[arg-type]
    return Catalogue(
        labs=labs, default_lab="l", default_tier="smart", models=index_models(labs), version="v"
    )


def target(where: Provider, model: str, price: Price | None = _PRICE, **more: object) -> Target:
    return Target(provider=where, model=model, price=price, **more)  # type: ignore[arg-type]


class RecordingTransport:
    """A transport that answers by host and keeps the requests."""

    def __init__(self, answers: dict[str, httpx.Response | Exception]) -> None:
        self.sent: list[tuple[str, str | None, object]] = []
        self._answers = answers

    def __call__(self, _: Provider) -> httpx.AsyncBaseTransport:
        return httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        key = request.headers.get("authorization")
        self.sent.append((request.url.host, key, jsonio.loads(request.content)))
        answer = self._answers[request.url.host]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def run_probes(
    providers_catalogue: Catalogue,
    transport: RecordingTransport,
    tick: Callable[[], None] = lambda: None,
) -> list[probe.ProbeResult]:
    return await probe.run_probes(
        probe.list_targets(providers_catalogue), transports=transport, wall=lambda: 0.0, tick=tick
    )


def test_each_target_is_probed_once_with_each_account() -> None:
    """Probes skip targets that are off, and engines that the gateway would have to start first."""
    two = provider("two", accounts=(Account("a", "sk-a"), Account("b", "sk-b")))
    off = provider("off", enabled=False, disabled_reason="set OFF_KEY")
    own = provider("own", command=("server",))
    providers_catalogue = catalogue(
        fast=[target(two, "m"), target(off, "m"), target(own, "m")],
        smart=[target(two, "m", effort="high"), target(provider("one"), "n")],
    )
    assert [
        (result.name, result.tier, result.candidate.dialect_name)
        for result in probe.list_targets(providers_catalogue)
    ] == [
        ("two/m (a)", "fast", "openai-chat"),
        ("two/m (b)", "fast", "openai-chat"),
        ("one/n", "smart", "openai-chat"),
    ]


async def test_a_probe_measures_the_time_and_the_cost_of_an_answer() -> None:
    """Each probe uses the provider's dialect; it does not pay for the tier's effort."""
    providers_catalogue = catalogue(
        fast=[target(provider("chat"), "m", effort="high", params={"x": 1})],
        smart=[target(provider("claude", "anthropic-messages", auth="x-api-key"), "n")],
        reasoning=[target(provider("plain"), "o", price=None)],
    )
    transport = RecordingTransport(
        {
            "chat.example": httpx.Response(200, content=_CHAT),
            "claude.example": httpx.Response(200, content=_MESSAGES),
            "plain.example": httpx.Response(200, content=_CHAT),
        }
    )
    ticks: list[int] = []
    chat, claude, plain = await run_probes(providers_catalogue, transport, lambda: ticks.append(1))
    assert [result.problem for result in (chat, claude, plain)] == [None] * 3
    assert (chat.usd, claude.usd, plain.usd) == (Decimal("0.000014"), Decimal("0.000014"), None)
    assert all(0 <= result.seconds < 30 for result in (chat, claude, plain))
    assert len(ticks) == 3
    assert [host for host, *_ in transport.sent] == [
        "chat.example",
        "claude.example",
        "plain.example",
    ]
    first_body, second_body, _ = (body for *_, body in transport.sent)
    assert first_body == {
        "model": "m",
        "max_tokens": 64,
        "messages": [{"role": "user", "content": "Say OK."}],
    }
    assert isinstance(second_body, dict)
    assert (second_body["model"], second_body["max_tokens"]) == ("n", 64)


async def test_a_failed_probe_is_reported_and_not_repeated() -> None:
    providers_catalogue = catalogue(
        fast=[target(provider("denied"), "m")],
        smart=[target(provider("busy"), "m")],
        reasoning=[target(provider("gone"), "m")],
    )
    transport = RecordingTransport(
        {
            "denied.example": httpx.Response(
                401, content=b'{"error": {"message": "bad key sk-denied"}}'
            ),
            "busy.example": httpx.Response(503, content=b"{}"),
            "gone.example": httpx.ConnectError("no"),
        }
    )
    results = await run_probes(providers_catalogue, transport)
    assert [result.problem and result.problem.kind for result in results] == [
        "upstream_auth", "upstream_overloaded", "upstream_unreachable",
    ]  # fmt: skip
    assert [host for host, *_ in transport.sent] == [
        "denied.example",
        "busy.example",
        "gone.example",
    ]
    assert "sk-denied" not in str([result.problem for result in results])


def test_the_maximum_cost_of_a_probe_is_known_before_it_runs() -> None:
    """40 tokens in and 64 out, at 1 and 2 USD a million."""
    providers_catalogue = catalogue(
        fast=[target(provider("a"), "m")], smart=[target(provider("b"), "m", None)]
    )
    assert [result.compute_max_cost(0.0) for result in probe.list_targets(providers_catalogue)] == [
        Decimal("0.000168"),
        None,
    ]
