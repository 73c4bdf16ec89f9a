"""SEC-CACHE: which key gets which answer: by request key, in time, and while clients leave."""

import random
from collections.abc import Iterator

import pytest

from gateway.core import jsonio
from gateway.core.call import Call, Key
from gateway.core.target import Provider, Target
from gateway.state.memory import MemoryStore
from tests.cache.test_response_cache import MADE, exact, key
from tests.conftest import redis_program
from tests.e2e.redis_port import Place
from tests.e2e.upstream import Upstream
from tests.e2e.world import Loop
from tests.hostile import crossing
from tests.hostile.fields import FIELDS
from tests.hostile.pairs import pairs
from tests.security.timing import compare_samples
from tests.server.gate import CHAT, GENERATE, MESSAGES, RESPONSES, Gate

TARGET = Target(provider=Provider(name="p", urls={}), model="m")
NAMES = {
    CHAT: "openai-chat",
    MESSAGES: "anthropic-messages",
    RESPONSES: "openai-responses",
    GENERATE: "gemini",
}


def make_cache_key(dialect: str, value: dict[str, object], **headers: str) -> str:
    body = jsonio.dumps(value)
    call = Call(
        id="1", dialect=dialect, operation="generate", body=body, headers=headers, key=Key(name="k"), received_at=0.0,
        started_at=0.0,
    )  # fmt: skip
    return exact().make_key(call, jsonio.read_members(body), TARGET)


CHANGES: dict[str, dict[str, object]] = {
    CHAT: {
        "model": "able-2", "messages": [], "tools": [], "tool_choice": "none", "temperature": 0, "top_p": 1, "seed": 1,
        "max_tokens": 1, "max_completion_tokens": 1, "stop": ["a"], "response_format": {"type": "json_object"}, "n": 1,
        "logprobs": True, "top_logprobs": 1, "user": "u", "logit_bias": {}, "presence_penalty": 0, "frequency_penalty": 0,
        "reasoning_effort": "low", "parallel_tool_calls": False, "service_tier": "flex", "verbosity": "low", "modalities": [],
        "prediction": None, "metadata": {"a": "b"}, "x_own": 2, "safety_identifier": "s", "prompt_cache_key": "p",
    },
    MESSAGES: {
        "model": "claude-9", "messages": [], "system": "s", "tools": [], "tool_choice": {"type": "none"}, "temperature": 0,
        "top_p": 1, "top_k": 1, "max_tokens": 10, "stop_sequences": ["b"], "thinking": {"type": "disabled"},
        "metadata": {"user_id": "v"}, "service_tier": "auto", "container": "c", "mcp_servers": [], "x_own": 2,
    },
    RESPONSES: {
        "model": "reply-10", "input": "x", "instructions": "i", "tools": [], "tool_choice": "none", "temperature": 0, "top_p": 1,
        "max_output_tokens": 1, "text": {"format": {"type": "json_object"}}, "reasoning": {"effort": "low"}, "user": "u",
        "include": [], "truncation": "auto", "parallel_tool_calls": False, "service_tier": "flex", "metadata": {"a": "b"},
        "top_logprobs": 1, "max_tool_calls": 1, "x_own": 2,
    },
    GENERATE: {
        "contents": [], "systemInstruction": {"parts": []}, "tools": [], "toolConfig": {}, "safetySettings": [],
        "generationConfig": {"temperature": 0}, "labels": {"a": "b"}, "cachedContent": "c", "serviceTier": "flex", "x_own": 2,
    },
}  # fmt: skip


@pytest.mark.parametrize("path", CHANGES)
def test_sec_cache_2_every_member_that_may_change_an_answer_is_in_the_key(path: str) -> None:
    """SEC-CACHE 2: in each dialect; neither the order of members nor the delivery is in the key."""
    dialect, base = NAMES[path], FIELDS[path]("x")
    keys = {make_cache_key(dialect, base)}
    for name, value in CHANGES[path].items():
        assert base.get(name, ...) != value, name
        keys.add(make_cache_key(dialect, {**base, name: value}))
        keys.add(
            make_cache_key(
                dialect,
                {key: member for key, member in base.items() if key != name} | {f"{name}_": value},
            )
        )
    assert len(keys) == 1 + 2 * len(CHANGES[path])
    reversed_members = dict(reversed(base.items()))
    assert make_cache_key(dialect, reversed_members) == make_cache_key(dialect, base)
    if path != GENERATE:
        assert make_cache_key(dialect, {**base, "stream": True}) == make_cache_key(dialect, base)
    assert make_cache_key(dialect, base, **{"anthropic-beta": "x"}) != make_cache_key(dialect, base)
    assert (
        len({make_cache_key(name, {"model": "m"}) for name in ("openai-chat", "openai-responses")})
        == 2
        or path != CHAT
    )


def test_sec_cache_2_3_requests_with_one_difference_have_two_keys() -> None:
    """SEC-CACHE 2, 3: 5,000 pairs of requests with one difference; `make hostile` takes 100,000."""
    problems = list(pairs(5000))
    assert not [problem for problem in problems if problem]
    assert len(problems) == 5000


NUMBERS = ("2", "3", "12", "21", "0.5", "-2", "two", "1,000", "1000", "10^3")
SWAPS = (
    ("is", "is not"), ("with", "without"), ("Paris", "Lyon"), ("Ann", "Anna"), ("before", "after"), ("more", "less"),
    ("all", "any"), ("must", "may"), ("buy", "sell"), ("left", "right"),
)  # fmt: skip


def test_sec_cache_6_nearly_equal_prompts_have_different_keys() -> None:
    """SEC-CACHE 6: 200 pairs with other numbers, names and negations; likeness finds no answer."""
    rng = random.Random(2601)
    pairs_of_texts: list[tuple[str, str]] = []
    while len(pairs_of_texts) < 200:
        a, b = rng.choice(SWAPS)
        n, m = rng.sample(NUMBERS, 2)
        template = f"Tell Ann whether {n} {{}} what she must pay, number {len(pairs_of_texts)}."
        first, second = (template.format(a), template.format(b)) if rng.random() < 0.5 else (
            template.format(a), template.format(a).replace(n, m, 1)
        )  # fmt: skip
        pairs_of_texts.append((first, second))
    keys = [
        make_cache_key(
            "openai-chat", {"model": "m", "messages": [{"role": "user", "content": text}]}
        )
        for pair in pairs_of_texts
        for text in pair
    ]
    assert len(set(keys)) == len(keys) == 400


class RecordingStore(MemoryStore):
    """A store that records the names it is asked for."""

    def __init__(self) -> None:
        super().__init__(64_000_000, clock=lambda: 0.0)
        self.names: list[str] = []

    async def get(self, key: str) -> bytes | None:
        self.names.append(key)
        return await super().get(key)


async def test_sec_cache_7_a_probe_reads_nothing_of_another_key() -> None:
    """SEC-CACHE 7: a probe reads only its own name, whatever others have.

    `make timing` measures the time.
    """
    store = RecordingStore()
    cache = exact(store)
    ann, bob = Key(name="ann"), Key(name="bob")
    await cache.find(key(cache, bob))
    before = store.names.copy()
    cache.store(key(cache, ann), MADE)
    await cache.find(key(cache, bob))
    assert store.names == before * 2
    assert key(cache, ann) not in before[0]


def test_sec_cache_7_the_timing_test_sees_a_difference() -> None:
    """SEC-CACHE 7: the test finds samples of one distribution alike, and shifted ones not."""
    rng = random.Random(7)
    drawn = [rng.gauss(1, 0.1) for _ in range(400)]
    others = [rng.gauss(1, 0.1) for _ in range(400)]
    assert compare_samples(drawn, others)[1] > 0.05
    assert compare_samples(drawn, [sample + 0.05 for sample in others])[1] < 0.001
    assert compare_samples(drawn, drawn) == (0, 1)


@pytest.fixture
def crossing_gate(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """Yield a gateway with two keys and a Redis behind it."""
    program = redis_program()
    if program is None:
        pytest.skip("no server of the Redis protocol: make dev, or apt-get install redis-server")
    folder, provider = tmp_path_factory.mktemp("crossing"), Upstream()
    loop.run(provider.start())
    provider.on("/", crossing.echo)
    place = Place(program, folder)
    place.start()
    gate = Gate(
        folder / "gateway", provider.url, crossing.storing, TIERGATE_KEYS=crossing.KEYS,
        REDIS_URL=f"redis://127.0.0.1:{place.port}/0",
    )  # fmt: skip
    yield gate
    gate.stop()
    place.kill()
    loop.run(provider.stop())


def test_sec_cache_1_8_two_keys_and_clients_that_leave_get_only_their_answers(
    crossing_gate: Gate,
) -> None:
    """SEC-CACHE 1, 8: the bug of 2023-03-20: 800 requests of two keys, half of which leave early.

    `make hostile` sends 10,000.
    """
    problems = [*crossing.apart(crossing_gate), *crossing.crossed(crossing_gate, 800)]
    assert not [problem for problem in problems if problem]
    assert len(problems) == 802
