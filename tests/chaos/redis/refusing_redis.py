"""R-06, R-07: a Redis that refuses commands: full, a replica, loading, busy, without rights."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import redis

from tests.chaos.all_clients import AllClients, Form, first_quartile, probe_cache, shared_row
from tests.chaos.environment import ChaosEnvironment
from tests.chaos.redis.commands import answering
from tests.chaos.redis.faults import FAULTS, Fault, full, replica
from tests.chaos.redis.redis_environment import BACK, WELL, lost, pair, program, waited
from tests.chaos.row import FaultRow, Seen
from tests.e2e.child import until
from tests.e2e.redis_port import Place

_PASSWORD = "canary-in-a-url"


def _set(*named: tuple[str, str]) -> Fault:
    """Change settings of the server for a while."""

    @contextmanager
    def fault(place: Place) -> Iterator[None]:
        with place.admin() as admin:
            before = [(name, admin.config_get(name)[name]) for name, _ in named]
            for name, value in named:
                admin.config_set(name, value)
            yield
            for name, value in before:
                admin.config_set(name, value)

    return fault


@contextmanager
def _stale(place: Place) -> Iterator[None]:
    """Make it a replica that has lost its primary and refuses to serve stale data."""
    with _set(("replica-serve-stale-data", "no"))(place), replica(place):
        yield


@contextmanager
def _busy(place: Place) -> Iterator[None]:
    """Run a script that never ends."""

    def run() -> None:
        with suppress(redis.RedisError), place.admin() as admin:
            admin.eval("while true do end", 0)

    with place.admin() as admin:
        admin.config_set("busy-reply-threshold", 10)
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        until(lambda: _says(admin, "BUSY"), "it is busy")
        yield
        admin.script_kill()
        thread.join()


def _says(admin: redis.Redis, word: str) -> bool:
    try:
        admin.get("x")
    except redis.RedisError as error:
        return word.lower() in str(error).lower() or word.lower() in type(error).__name__.lower()
    return False


@contextmanager
def _without_rights(place: Place) -> Iterator[None]:
    """Allow the gateway to ping and read, and nothing else."""
    with place.admin() as admin, place.admin() as other:
        other.ping()  # a connection keeps the rights it has now; CONFIG and ACL stay
        admin.execute_command("ACL", "SETUSER", "default", "-eval", "-evalsha", "-set", "-hgetall")
        yield
        admin.execute_command("ACL", "SETUSER", "default", "+@all")


def _wrong_password(environment: ChaosEnvironment) -> Mapping[Form, Seen]:
    """A wrong password in the URL is repaired without a restart, and the gateway never shows it."""
    form = f"redis://:{_PASSWORD}@127.0.0.1:{{port}}/0"
    made = pair(environment, "--requirepass", "another", form=form)
    clients = AllClients(made.gateway)
    first, later = clients.call(1), clients.call(8)
    notes = len([line for line in made.gateway.log() if line["event"] == "redis"])
    with made.place.admin("another") as admin:
        admin.config_set("requirepass", _PASSWORD)
    cache = probe_cache(made.gateway, BACK)
    healthy = first_quartile(clients.call(4))
    wrong = [f"{notes} lines of the log"] if notes > 4 else []
    if _PASSWORD in made.gateway.child.err + made.gateway.child.out:
        wrong.append("the password is told")
    return clients.seen(cache, waited(environment, healthy, first, later), wrong)


def _all_at_once(faults: Sequence[Callable[[Place], object]]) -> Fault:
    @contextmanager
    def fault(place: Place) -> Iterator[None]:
        for fault_ in faults:
            fault_(place)
        yield

    return fault


def _flushed_scripts(place: Place) -> None:
    """Flush the scripts: the gateway gets NOSCRIPT and sends them again."""
    with place.admin() as admin:
        admin.script_flush()


def _error_row(word: str, text: str) -> FaultRow:
    return lost("R-07", word, answering(f"-{word} {text}\r\n".encode()))


ROWS: tuple[FaultRow, ...] = (
    lost("R-06", "full, and may not evict", full, ci=True, restart=False),
    lost("R-07", "a replica now", replica, restart=False, ci=True),
    lost("R-07", "a replica without its primary's data", _stale, restart=False),
    lost("R-07", "too few replicas", _set(("min-replicas-to-write", "1")), restart=False),
    lost("R-07", "busy with a script", _busy, restart=False),
    lost("R-07", "scripts forgotten", _all_at_once((_flushed_scripts,)), restart=False),
    lost("R-07", "asks for a password", FAULTS["NOAUTH"][0], restart=False),
    lost("R-07", "no right to write", _without_rights, restart=False),
    lost("R-07", "in protected mode", FAULTS["denied"][0]),
    shared_row("R-07", "another password", "redis", _wrong_password, WELL, needs=(program,), ci=True),
    _error_row("LOADING", "Redis is loading the dataset in memory"),
    _error_row("MISCONF", "Redis is configured to save RDB snapshots, but it's currently unable to persist"),
    _error_row("NOREPLICAS", "Not enough good replicas to write."),
    _error_row("CLUSTERDOWN", "The cluster is down"),
    _error_row("CROSSSLOT", "Keys in request don't hash to the same slot"),
    _error_row("WHATEVER", "no word that anybody knows"),
)  # fmt: skip
