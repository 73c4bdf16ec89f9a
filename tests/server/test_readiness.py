"""Test that `/ready` is true: 503 with the reason while no call is served, then 200 again."""

import errno
import shutil
from collections.abc import Iterator
from decimal import Decimal

import msgspec
import pytest

from gateway.core.call import Key, KeyBudget
from gateway.ledger import journal
from gateway.ledger.errors import JournalError
from gateway.ledger.journal import Segment, append
from gateway.limits.load_shedding import SHED_ALL, SHED_REASONING
from gateway.server.readiness import Readiness, Unready
from gateway.server.shutdown import GracefulShutdown
from tests.conftest import redis_program
from tests.e2e.child import until
from tests.e2e.place import Place
from tests.e2e.upstream import Upstream, whole
from tests.e2e.world import Change, Config, Make, World, chat
from tests.server.test_pressed import press
from tests.server.test_share import keys

FULL = "No space left on device"
BUDGET = {"name": "team", "usd": 5, "every": "day"}


def ask(world: World) -> tuple[int, str, str | None]:
    """Ask /ready; return its status, word and reason."""
    world.app.readiness._fresh_until = 0.0
    reply = world.client.get("/ready")
    told = reply.json()
    assert world.client.get("/health").status_code == 200
    assert {"status", "version", "config"} <= set(told) <= {"status", "version", "config", "reason"}
    return reply.status_code, told["status"], told.get("reason")


OK = (200, "ok", None)


class Disk:
    """The disk under every journal of this process."""

    full = False


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk()

    def appending(segment: Segment, data: bytes) -> None:
        if disk.full:
            raise JournalError(errno.ENOSPC, FULL)
        append(segment, data)

    monkeypatch.setattr(journal, "append", appending)
    yield disk
    disk.full = False


def ledger(**settings: str) -> Change:
    def change(value: Config) -> None:
        value["ledger"] = settings

    return change


@pytest.mark.parametrize("called", [False, True], ids=["idle", "after a refused call"])
def test_a_full_disk_is_told(make: Make, upstream: Upstream, disk: Disk, called: bool) -> None:
    """If the ledger refuses calls, /ready says so, even before the first call finds out."""
    world = make(ledger(on_disk_full="refuse"))
    upstream.on("/acme", whole())
    assert ask(world) == OK
    disk.full = True
    if called:
        assert world.ask(chat()).status_code == 503
    assert ask(world) == (503, "ledger", f"The gateway cannot write its ledger: {FULL}.")
    disk.full = False
    if called:  # the writer retries rows in memory each second
        world.loop.run(_tried(world))
    assert ask(world) == OK
    assert world.ask(chat()).status_code == 200


async def _tried(world: World) -> None:
    world.gateway.ledger_runtime.writer._retry_late_rows()


def test_a_full_disk_is_nothing_to_who_serves_without(make: Make, disk: Disk) -> None:
    world = make(ledger(on_disk_full="serve"))
    disk.full = True
    assert ask(world) == OK
    assert world.ask(chat()).status_code == 200
    assert ask(world) == OK


def test_a_busy_gateway_tries_no_disk(make: Make, disk: Disk) -> None:
    """Rows taken since the last check show that there is room."""
    world = make(ledger(on_disk_full="refuse"))
    assert ask(world) == OK
    assert world.ask(chat()).status_code == 200
    disk.full = True
    assert ask(world) == OK
    assert ask(world)[1] == "ledger"


def test_a_disk_that_does_not_sync_is_told(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger makes each call wait for the disk here; with durability `group` it does not."""
    broken = False

    def syncing(_: int) -> None:
        if broken:
            raise OSError(errno.EIO, "Input/output error")

    for durability, told in (("each", "ledger"), ("group", "ok")):
        world = make(ledger(on_disk_full="refuse", durability=durability))
        monkeypatch.setattr(world.gateway.ledger_runtime.journal, "_sync", syncing)
        broken = True
        world.ask(chat())
        assert ask(world)[1] == told
        broken = False
        assert ask(world) == OK


def test_a_probe_leaves_nothing(make: Make) -> None:
    """If no file can be made in the folder, the open journal may still be writable."""
    world = make()
    folder = world.gateway.ledger_runtime.journal_folder
    before = sorted(folder.iterdir())
    assert ask(world) == OK
    assert sorted(folder.iterdir()) == before
    shutil.rmtree(folder)
    assert ask(world) == OK


def test_pressure_is_told(make: Make) -> None:
    """At the last level the gateway refuses all calls; before that it serves some."""
    world = make()
    press(world, SHED_REASONING)
    assert ask(world) == OK
    press(world, SHED_ALL)
    assert ask(world) == (503, "overloaded", "The gateway is overloaded.")
    press(world, 0)
    assert ask(world) == OK


def test_no_lab_is_told(make: Make) -> None:
    world = make()
    gateway = world.gateway
    built = gateway.built_config.built_catalogue
    labs = {
        name: msgspec.structs.replace(lab, enabled=False)
        for name, lab in built.catalogue.labs.items()
    }
    catalogue = msgspec.structs.replace(built.catalogue, labs=labs)
    without = msgspec.structs.replace(built, catalogue=catalogue)
    gateway.built_config = msgspec.structs.replace(gateway.built_config, built_catalogue=without)
    assert ask(world) == (503, "labs", "No lab is on: `tiergate check` says why.")


def test_an_end_is_told(make: Make) -> None:
    world = make()
    world.app.admission.shutdown.has_begun = True
    assert ask(world) == (503, "draining", "The gateway is stopping.")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A Redis server that the test starts and kills."""
    program = redis_program()
    if program is None:
        pytest.skip("no server of the Redis protocol: make dev, or apt-get install redis-server")
    made = Place(program, tmp_path_factory.mktemp("redis"))
    yield made
    made.kill()


def bounded(*budgets: Config, lost: str = "closed") -> Change:
    def change(value: Config) -> None:
        value["budgets"] = list(budgets)
        value["on_redis_loss"] = lost

    return change


@pytest.mark.parametrize("called", [False, True], ids=["idle", "after a refused call"])
def test_a_redis_that_is_gone_is_told(
    make: Make, upstream: Upstream, place: Place, called: bool
) -> None:
    """A budget bounds every call and fails closed; /ready recovers by itself."""
    upstream.on("/acme", whole())
    place.start_again()
    world = make(bounded(BUDGET), REDIS_URL=f"redis://127.0.0.1:{place.port}")
    assert world.ask(chat(max_tokens=9)).status_code == 200
    assert ask(world) == OK
    place.kill()
    if called:
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
    "local": (bounded(BUDGET, lost="local"), False),
    "no budget": (bounded(), False),
    "of a tier": (bounded({**BUDGET, "tier": "reasoning"}), False),
    "of a tag": (bounded({**BUDGET, "tag": "web"}), False),
    "of a key": (bounded({**BUDGET, "key": "ann"}), False),
    "of all keys": (bounded({**BUDGET, "key": ["ann", "bob"]}), True),
    "of all tiers": (
        bounded({**BUDGET, "tier": "fast"}, {**BUDGET, "name": "b", "tier": ["smart", "reasoning"]}),
        True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MATTERS)
def test_a_redis_that_is_gone_matters_where_every_call_needs_it(
    make: Make, place: Place, name: str
) -> None:
    """The gateway is ready as long as it serves some calls."""
    change, held = MATTERS[name]
    place.kill()
    url = f"redis://127.0.0.1:{place.port}"
    world = make(change, REDIS_URL=url, TIERGATE_KEYS=keys("ann", "bob"))
    world.ask(chat(), authorization="Bearer ann")
    assert (ask(world)[1] == "budgets") is held


def test_budgets_of_keys_are_budgets(make: Make, place: Place) -> None:
    """Budgets of keys matter if each usable key has its own."""
    place.kill()
    world = make(bounded(), REDIS_URL=f"redis://127.0.0.1:{place.port}", TIERGATE_KEYS=keys("ann"))
    gate, own = world.gateway.limiter, KeyBudget(usd=Decimal(1), every="day")
    ann, bob = Key(name="ann", budgets=(own,)), Key(name="bob")
    assert gate.refuses_all([ann])
    assert not gate.refuses_all([ann, bob])


async def test_an_answer_counts_for_a_second(make: Make, disk: Disk) -> None:
    """A probe needs no key, so probes must not make the gateway test the disk at any rate."""
    now = 100.0
    readiness = Readiness(make().gateway, GracefulShutdown(), lambda: now)
    assert await readiness() is None
    disk.full = True
    now += 0.99
    assert await readiness() is None
    now += 0.01
    assert await readiness() == Unready("ledger", f"The gateway cannot write its ledger: {FULL}.")
