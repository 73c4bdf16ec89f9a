"""Model names that a client makes up: what the gateway keeps of them is bounded."""

import gc
import os
import sys
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable
from types import ModuleType

from gateway.core import jsonio
from tests.e2e.four_labs import CHAT, answer
from tests.e2e.test_unlisted_models import PATHS, makers, started
from tests.e2e.upstream import Answer, Request, failing
from tests.e2e.world import Config, Make, chat

_COUNT = int(os.environ.get("TIERGATE_TEST_NAMES", "2500"))
"""The number of names. `TIERGATE_TEST_NAMES=100000` makes the long trial."""
_MAX_KEPT = 1024
"""The most names that any part of the gateway may keep."""
_CONTAINERS = (dict, OrderedDict, list, set, frozenset, deque, tuple)


def answer_or_refuse(request: Request) -> Answer:
    """Know every other name."""
    model = str(request.json["model"])
    if model.endswith(("0", "2", "4", "6", "8")):
        return answer(CHAT)
    body = {"error": {"message": f"The model `{model}` does not exist", "code": "model_not_found"}}
    return failing(404, jsonio.dumps(body))


def count_names(roots: Iterable[object], ignored: Iterable[object], word: str) -> Counter[str]:
    """Return how many texts with a word the largest containers below some objects have."""
    seen = {id(item) for item in ignored}
    todo, counts = list(roots), Counter[str]()
    while todo:
        item = todo.pop()
        if id(item) in seen or isinstance(item, ModuleType | type):
            continue
        seen.add(id(item))
        if isinstance(item, _CONTAINERS) and len(item) > 1:
            names = sum(1 for entry in item if word in _show(entry))
            if names > 10:
                counts[f"{type(item).__name__} of {_show(next(iter(item)))}"] = names
        todo += gc.get_referents(item)
    return counts


def _show(entry: object) -> str:
    if isinstance(entry, str | bytes):
        return str(entry)[:100]
    if isinstance(entry, tuple):
        return " ".join(part for part in entry if isinstance(part, str))[:200]
    return str(getattr(entry, "model", ""))[:100]


def test_made_up_names_fill_no_memory(make: Make) -> None:
    def limited(value: Config) -> None:
        makers(value)
        value["providers"]["oak"]["prices"] = "nobody"
        value["budgets"] = [{"name": "all", "usd": 1_000_000, "every": "day"}]
        value["unknown_price"] = {"input": 1, "output": 1}
        value["routing"] = {"classifier": "off"}

    world = started(make(limited))
    world.upstream.on(PATHS[CHAT], answer_or_refuse)
    statuses: Counter[int] = Counter()
    for number in range(_COUNT):
        word = ("gpt-canary", "oak/canary", "unknown-canary")[number % 3]
        reply = world.ask(chat(model=f"{word}-{number}", max_tokens=16))
        statuses[reply.status_code] += 1
        if number % 500 == 0:
            world.upstream.requests.clear()
    assert set(statuses) == {200, 404}
    text = world.client.get("/metrics").text
    assert "canary" not in text
    gc.collect()
    kept = count_names([world.gateway, world.app], [world, world.upstream, sys.modules], "canary")
    assert max(kept.values(), default=0) <= _MAX_KEPT, kept.most_common(5)
