"""Test that `/ready` is true: 503 with the reason while no call is served, then 200 again."""

import errno
import shutil
from collections.abc import Iterator
from decimal import Decimal

import msgspec
import pytest

from gateway.core.call import Key, KeyBudget
from gateway.ledger import journal
from gateway.ledger.chain import Link
from gateway.ledger.errors import JournalError
from gateway.ledger.journal import Segment, append
from gateway.limits.load_shedding import SHED_ALL, SHED_REASONING
from gateway.server.readiness import Readiness, Unready
from gateway.server.shutdown import GracefulShutdown
from tests.e2e.child import until
from tests.e2e.redis_port import Place
from tests.e2e.upstream import Upstream, whole
from tests.e2e.world import Change, Config, Make, World, chat
from tests.server.test_fair_concurrency import environment_keys
from tests.server.test_load_shedding import set_pressure

FULL = "No space left on device"
BUDGET = {"name": "team", "usd": 5, "every": "day"}


def ask(world: World) -> tuple[int, str, str | None]:
    """Ask /ready; return its status, word and reason."""
    world.app.readiness._fresh_until = 0.0
    reply = world.client.get("/ready")
    body = reply.json()
    assert world.client.get("/health").status_code == 200
    assert {"status", "version", "config"} <= set(body) <= {"status", "version", "config", "reason"}
    return reply.status_code, body["status"], body.get("reason")


OK = (200, "ok", None)


class FakeDisk:
    """The disk under every journal of this process."""

    full = False


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDisk]:
    disk = FakeDisk()

    def append_unless_full(segment: Segment, data: bytes, link: Link | None = None) -> None:
        if disk.full:
            raise JournalError(errno.ENOSPC, FULL)
        append(segment, data, link)

    monkeypatch.setattr(journal, "append", append_unless_full)
    yield disk
    disk.full = False


def configure_ledger(**settings: str) -> Change:
    def change(value: Config) -> None:
        value["ledger"] = settings

    return change


@pytest.mark.parametrize("after_a_call", [False, True], ids=["idle", "after a refused call"])
def test_ready_reports_a_full_disk_when_the_ledger_refuses_calls(
    make: Make, upstream: Upstream, disk: FakeDisk, after_a_call: bool
) -> None:
    """If the ledger refuses calls, /ready says so, even before the first call finds out."""
    world = make(configure_ledger(on_disk_full="refuse"))
    upstream.on("/acme", whole())
    assert ask(world) == OK
    disk.full = True
    if after_a_call:
        assert world.ask(chat()).status_code == 503
    assert ask(world) == (503, "ledger", f"The gateway cannot write its ledger: {FULL}.")
    disk.full = False
    if after_a_call:  # the writer retries rows in memory each second
        world.loop.run(_retry_late_rows(world))
    assert ask(world) == OK
    assert world.ask(chat()).status_code == 200


async def _retry_late_rows(world: World) -> None:
    world.gateway.ledger_runtime.writer._retry_late_rows()


def test_ready_ignores_a_full_disk_when_the_gateway_serves_without_a_ledger(
    make: Make, disk: FakeDisk
) -> None:
    world = make(configure_ledger(on_disk_full="serve"))
    disk.full = True
    assert ask(world) == OK
    assert world.ask(chat()).status_code == 200
    assert ask(world) == OK


def test_ready_does_not_test_the_disk_after_recent_rows(make: Make, disk: FakeDisk) -> None:
    """Rows taken since the last check show that there is room."""
    world = make(configure_ledger(on_disk_full="refuse"))
    assert ask(world) == OK
    assert world.ask(chat()).status_code == 200
    disk.full = True
    assert ask(world) == OK
    assert ask(world)[1] == "ledger"


def test_ready_reports_a_disk_that_does_not_sync(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger makes each call wait for the disk here; with durability `group` it does not."""
    is_broken = False

    def sync(_: int) -> None:
        if is_broken:
            raise OSError(errno.EIO, "Input/output error")

    for durability, expected in (("each", "ledger"), ("group", "ok")):
        world = make(configure_ledger(on_disk_full="refuse", durability=durability))
        monkeypatch.setattr(world.gateway.ledger_runtime.journal, "_sync", sync)
        is_broken = True
        world.ask(chat())
        assert ask(world)[1] == expected
        is_broken = False
        assert ask(world) == OK


def test_ready_leaves_no_file(make: Make) -> None:
    """If no file can be made in the folder, the open journal may still be writable."""
    world = make()
    folder = world.gateway.ledger_runtime.journal_folder
    before = sorted(folder.iterdir())
    assert ask(world) == OK
    assert sorted(folder.iterdir()) == before
    shutil.rmtree(folder)
    assert ask(world) == OK


def test_ready_reports_the_last_level_of_load_shedding(make: Make) -> None:
    """At the last level the gateway refuses all calls; before that it serves some."""
    world = make()
    set_pressure(world, SHED_REASONING)
    assert ask(world) == OK
    set_pressure(world, SHED_ALL)
    assert ask(world) == (503, "overloaded", "The gateway is overloaded.")
    set_pressure(world, 0)
    assert ask(world) == OK


def test_ready_reports_that_no_lab_is_on(make: Make) -> None:
    world = make()
    gateway = world.gateway
    built = gateway.built_config.built_catalogue
    labs = {
        name: msgspec.structs.replace(lab, enabled=False)
        for name, lab in built.catalogue.labs.items()
    }
    catalogue = msgspec.structs.replace(built.catalogue, labs=labs)
    no_labs = msgspec.structs.replace(built, catalogue=catalogue)
    gateway.built_config = msgspec.structs.replace(gateway.built_config, built_catalogue=no_labs)
    assert ask(world) == (503, "labs", "No lab is on: `tiergate check` says why.")


def test_ready_reports_that_the_gateway_stops(make: Make) -> None:
    world = make()
    world.app.admission.shutdown.has_begun = True
    assert ask(world) == (503, "draining", "The gateway is stopping.")


@pytest.fixture(scope="module")
def place(redis_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A Redis server that the test starts and kills."""
    server = Place(redis_server, tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


def set_budgets(*budgets: Config, on_redis_loss: str = "closed") -> Change:
    def change(value: Config) -> None:
        value["budgets"] = list(budgets)
        value["on_redis_loss"] = on_redis_loss

    return change


@pytest.mark.parametrize("after_a_call", [False, True], ids=["idle", "after a refused call"])
def test_ready_reports_a_lost_redis_and_recovers_by_itself(
    make: Make, upstream: Upstream, place: Place, after_a_call: bool
) -> None:
    """A budget bounds every call and fails closed; /ready recovers by itself."""
    upstream.on("/acme", whole())
    place.start_again()
    world = make(set_budgets(BUDGET), REDIS_URL=f"redis://127.0.0.1:{place.port}")
    assert world.ask(chat(max_tokens=9)).status_code == 200
    assert ask(world) == OK
    place.kill()
    if after_a_call:
        assert world.ask(chat(max_tokens=9)).status_code == 503
    assert ask(world) == (
        503,
        "budgets",
        "The gateway cannot count budgets: Redis does not answer.",
    )
    place.start_again()
    until(lambda: ask(world) == OK, "it is ready again, though nobody calls")
    assert world.ask(chat(max_tokens=9)).status_code == 200


MATTERS: dict[str, tuple[Change, bool]] = {
    "lease": (set_budgets(BUDGET, on_redis_loss="lease"), True),
    "soft": (set_budgets({**BUDGET, "hard": False}, on_redis_loss="lease"), False),
    "no budget": (set_budgets(), False),
    "of a tier": (set_budgets({**BUDGET, "tier": "reasoning"}), False),
    "of a tag": (set_budgets({**BUDGET, "tag": "web"}), False),
    "of a key": (set_budgets({**BUDGET, "key": "ann"}), False),
    "of all keys": (set_budgets({**BUDGET, "key": ["ann", "bob"]}), True),
    "of all tiers": (
        set_budgets({**BUDGET, "tier": "fast"}, {**BUDGET, "name": "b", "tier": ["smart", "reasoning"]}),
        True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MATTERS)
def test_a_lost_redis_matters_only_if_every_call_needs_it(
    make: Make, place: Place, name: str
) -> None:
    """The gateway is ready as long as it serves some calls."""
    change, is_unready = MATTERS[name]
    place.kill()
    url = f"redis://127.0.0.1:{place.port}"
    world = make(change, REDIS_URL=url, TIERGATE_KEYS=environment_keys("ann", "bob"))
    world.ask(chat(), authorization="Bearer ann")
    assert (ask(world)[1] == "budgets") is is_unready


def test_budgets_of_keys_matter_if_every_key_has_one(make: Make, place: Place) -> None:
    """Budgets of keys matter if each usable key has its own."""
    place.kill()
    world = make(
        set_budgets(),
        REDIS_URL=f"redis://127.0.0.1:{place.port}",
        TIERGATE_KEYS=environment_keys("ann"),
    )
    limiter, budget = world.gateway.limiter, KeyBudget(usd=Decimal(1), every="day")
    ann, bob = Key(name="ann", budgets=(budget,)), Key(name="bob")
    assert limiter.refuses_all([ann])
    assert not limiter.refuses_all([ann, bob])


async def test_a_readiness_check_is_reused_for_a_second(make: Make, disk: FakeDisk) -> None:
    """A probe needs no key, so probes must not make the gateway test the disk at any rate."""
    now = 100.0
    readiness = Readiness(make().gateway, GracefulShutdown(), lambda: now)
    assert await readiness() is None
    disk.full = True
    now += 0.99
    assert await readiness() is None
    now += 0.01
    assert await readiness() == Unready("ledger", f"The gateway cannot write its ledger: {FULL}.")
