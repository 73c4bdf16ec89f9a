"""Diagnostics warn of a Redis whose settings would break a promise; the servers are real."""

import ast
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from bench.free_port import find_free_port
from gateway.settings.errors import Mistake
from gateway.state.redis.diagnostics import (
    COUNTER_COMMANDS,
    VALUE_COMMANDS,
    _check_role,
    _check_vector_sets,
    advise,
    examine,
)
from gateway.state.redis.scripts import list_script_commands
from gateway.state.redis.url import parse_url
from tests.conftest import redis_program
from tests.e2e.redis_port import Place

_ROOT = Path(__file__).parents[3]
_ALL_COMMANDS = VALUE_COMMANDS | COUNTER_COMMANDS | list_script_commands()
_SENDING_MODULES = (
    "state/redis/store.py", "state/redis/client.py", "state/redis/scripts.py", "limits/redis.py",
    "limits/tier_share.py", "limits/counter_epochs.py", "limits/leases.py",
)  # fmt: skip
"""Modules that send commands for values and counters."""
_OPTIONS = {"PX", "COUNT"}
"""Words of commands that are in capitals too."""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    program = redis_program()
    if program is None:
        pytest.skip("no server of the Redis protocol: make dev, or apt-get install redis-server")
    server = Place(program, tmp_path)
    yield server
    server.kill()


def url(place: Place) -> str:
    return f"redis://127.0.0.1:{place.port}/0"


def warnings(place: Place, *, counts: bool = True) -> list[str]:
    return [str(mistake) for mistake in advise(url(place), has_counters=counts, deadline=10.0)]


def test_a_redis_that_keeps_its_counters_gets_no_warning(place: Place) -> None:
    place.start("--appendonly", "yes", "--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru")
    assert warnings(place) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--maxmemory-policy", "allkeys-lru"), "allkeys-lru evicts counters"),
        (("--maxmemory-policy", "allkeys-lfu"), "allkeys-lfu evicts counters"),
        (("--maxmemory", "100mb"), "cannot count limits"),
    ],
)
def test_an_eviction_policy_that_evicts_counters_is_a_warning(
    place: Place, options: tuple[str, ...], words: str
) -> None:
    place.start("--appendonly", "yes", *options)
    (warning,) = warnings(place)
    assert warning.startswith("REDIS_URL: warning: maxmemory-policy ")
    assert words in warning
    assert warning.endswith("volatile-lru: then Redis evicts only keys with a time to live.")
    assert warnings(place, counts=False) == []


@pytest.mark.parametrize(
    ("off", "words"),
    [(-61.0, "its clock is 61 s ahead of this"), (61.0, "61 s behind this"), (1.0, "")],
)
def test_a_clock_that_differs_from_redis_is_a_warning(place: Place, off: float, words: str) -> None:
    """Budget windows follow the caller's clock, and buckets fill by the server's."""
    place.start("--appendonly", "yes")

    def wall() -> float:
        return time.time() + off

    diagnosis = examine(url(place), has_counters=True, deadline=10.0, wall=wall)
    assert words in "".join(map(str, diagnosis.mistakes))
    assert bool(diagnosis.mistakes) is bool(words)
    assert examine(url(place), has_counters=False, deadline=10.0, wall=wall).mistakes == []


def test_a_server_without_vector_sets_is_a_warning_if_near_questions_are_on(place: Place) -> None:
    """Redis has vector sets since 8.0, Valkey has none; the warning comes only if needed."""
    place.start()
    assert advise(url(place), has_counters=False, deadline=10.0) == []
    with redis.Redis(port=place.port) as admin:
        try:
            admin.execute_command("VCARD", "nothing")
        except redis.ResponseError:
            lacks = 1
        else:
            lacks = 0
    mistakes = advise(url(place), has_counters=False, near=True, deadline=10.0)
    assert ["no vector sets" in str(mistake) for mistake in mistakes] == [True] * lacks


@pytest.mark.parametrize(
    ("kind", "version", "lacks"),
    [
        ("Redis", "8.0.2", False),
        ("Redis", "10.1", False),
        ("Redis", "7.4.1", True),
        ("Redis", "", True),
        ("Valkey", "9.1.0", True),
    ],
)
def test_versions_with_and_without_vector_sets(kind: str, version: str, lacks: bool) -> None:
    assert bool(list(_check_vector_sets(kind, version))) is lacks


def test_a_redis_that_stores_nothing_on_disk_is_a_warning(place: Place) -> None:
    place.start()
    (warning,) = warnings(place)
    assert warning == (
        "REDIS_URL: warning: Redis keeps nothing on disk: after a restart limits begin at "
        "zero, and the gateway rebuilds budgets from the ledger. Set appendonly to yes."
    )


def test_a_redis_with_snapshots_alone_is_a_warning(place: Place) -> None:
    """Old counters that still exist are not rebuilt."""
    place.start()
    with place.admin() as admin:
        admin.config_set("save", "3600 1")
    (warning,) = warnings(place)
    assert warning == (
        "REDIS_URL: warning: Redis keeps only snapshots: a crash resets counters to the "
        "last one, and clients can overspend budgets by what came later. Set appendonly to yes."
    )


def test_a_redis_that_refuses_config_gets_no_warning(place: Place) -> None:
    """Hosted servers refuse CONFIG."""
    place.start()
    with place.admin() as admin:
        admin.acl_setuser("default", nopass=True, enabled=True, keys=["*"], commands=["+@all"])
        admin.execute_command("ACL", "SETUSER", "default", "-config")
    assert warnings(place) == []


def test_a_replica_is_an_error(place: Place) -> None:
    place.start("--appendonly", "yes", "--replicaof", "127.0.0.1", "1")
    (warning,) = warnings(place)
    assert warning == (
        f"REDIS_URL: error: 127.0.0.1:{place.port} is a replica and takes no writes. "
        "Name its primary, or the sentinels."
    )


def test_a_cluster_node_named_as_a_single_server_is_an_error(place: Place) -> None:
    place.start(
        "--appendonly", "yes", "--cluster-enabled", "yes", "--cluster-port", str(find_free_port())
    )
    with place.admin() as admin:
        admin.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    (warning,) = advise(url(place), has_counters=True, deadline=10.0)
    assert warning.level == "error"
    assert (
        warning.hint == "Write redis+cluster://host:port,host:port in place of redis://host:port."
    )
    assert advise(f"redis+cluster://127.0.0.1:{place.port}", has_counters=True, deadline=10.0) == []


@pytest.mark.parametrize("form", ["redis://127.0.0.1:{}", "redis+sentinel://127.0.0.1:{}/main",
                                  "redis+cluster://127.0.0.1:{}"])  # fmt: skip
def test_an_unreachable_redis_is_a_warning(place: Place, form: str) -> None:
    (warning,) = advise(form.format(place.port), has_counters=True)
    assert warning.level == "warning"
    assert warning.message.startswith("does not answer: no connection (127.0.0.1:")


def test_diagnostics_wait_for_a_silent_redis_until_their_deadline(place: Place) -> None:
    place.start()
    with place.stopped():
        (warning,) = advise(url(place), has_counters=False, deadline=0.1)
    assert warning == Mistake(
        level="warning", file="REDIS_URL",
        message=f"does not answer: no answer in time (127.0.0.1:{place.port}).",
        hint="Nothing is shared until it answers.",
    )  # fmt: skip


def test_no_warning_quotes_the_password(place: Place) -> None:
    place.start("--appendonly", "yes", "--requirepass", "hunter2")
    assert (
        advise(f"redis://:hunter2@127.0.0.1:{place.port}", has_counters=True, deadline=10.0) == []
    )
    for wrong in (":hunter3@", ""):
        text = str(
            advise(f"redis://{wrong}127.0.0.1:{place.port}", has_counters=True, deadline=10.0)
        )
        assert "hunter" not in text
        assert "NOAUTH" in text or "does not accept the credentials" in text
    assert "hunter" not in str(advise("redis://:hun/ter2@host", has_counters=True))


def test_a_url_without_a_host_name_check_is_a_warning() -> None:
    """The setting accepts any trusted certificate, whatever name it is for."""
    (warning,) = _check_role({}, parse_url("rediss://h?ssl_check_hostname=no"))
    assert "ssl_check_hostname=false takes a trusted certificate of any server" in str(warning)
    assert _check_role({}, parse_url("rediss://h")) == []
    assert _check_role({}, parse_url("redis://h?ssl_check_hostname=no")) == []


def examine_as_user(place: Place, *rights: str, counts: bool = True) -> list[str]:
    """Return what a user with some rights lacks; the trial removes its keys."""
    with redis.Redis(port=place.port) as admin:
        admin.execute_command("ACL", "SETUSER", "meek", "reset", "on", ">pw", "~tiergate:*", *rights)  # fmt: skip
        mistakes = examine(
            f"redis://meek:pw@127.0.0.1:{place.port}/0", has_counters=counts, deadline=10.0
        ).mistakes
        assert set(admin.keys()) <= {b"tiergate:doctor"}  # for a second
    return [str(mistake) for mistake in mistakes]


def test_each_command_that_a_user_may_not_send_is_an_error(place: Place) -> None:
    place.start("--appendonly", "yes")
    assert examine_as_user(place, "+@all") == []
    for command in sorted(_ALL_COMMANDS - {b"INFO", b"DEL", b"EXPIRE"}):
        (mistake,) = examine_as_user(place, "+@all", f"-{command.decode()}")
        assert f"refuses {command.decode()}. Give it the rights" in mistake
    (mistake,) = examine_as_user(place, "+@all", "-zcard", "-zremrangebyscore")
    assert "refuses ZCARD, ZREMRANGEBYSCORE." in mistake
    assert examine_as_user(place, "+@all", "-zcard", "-eval", counts=False) == []


def test_no_command_of_the_gateway_is_left_out() -> None:
    """The scripts' commands are read from the scripts, and those of modules are listed."""
    folder = _ROOT / "gateway"
    calls = sum(path.read_text().count("redis.") for path in (folder / "state/redis").glob("*.lua"))
    found = sum(
        len(re.findall(r"redis\.p?call\('\w+'", path.read_text()))
        for path in (folder / "state/redis").glob("*.lua")
    )
    assert calls == found > 50
    assert {b"ZCARD", b"ZREMRANGEBYSCORE"} <= list_script_commands()
    words = {
        node.value.decode()
        for name in _SENDING_MODULES
        for node in ast.walk(ast.parse((folder / name).read_text()))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, bytes)
        and re.fullmatch(rb"[A-Z]{2,}", node.value)
    }
    assert words - _OPTIONS == {name.decode() for name in VALUE_COMMANDS | COUNTER_COMMANDS}


def test_the_documents_name_all_commands() -> None:
    text = (_ROOT / "docs" / "operating.md").read_text()
    (rule,) = re.findall(r"^redis-cli ACL SETUSER tiergate .*$", text, re.MULTILINE)
    named = {word[1:].upper() for word in rule.split() if word.startswith("+")}
    assert named == {name.decode() for name in _ALL_COMMANDS} | {"SELECT"}
