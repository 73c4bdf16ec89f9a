"""Diagnostics warn of a Redis whose settings would break a promise; the servers are real."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from gateway.settings.errors import Mistake
from gateway.state.redis.diagnostics import _check_role, _check_vector_sets, advise, examine
from gateway.state.redis.url import parse_url
from tests.conftest import redis_program
from tests.e2e.place import Place, _free


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    program = redis_program()
    if program is None:
        pytest.skip("no server of the Redis protocol: make dev, or apt-get install redis-server")
    made = Place(program, tmp_path)
    yield made
    made.kill()


def url(place: Place) -> str:
    return f"redis://127.0.0.1:{place.port}/0"


def said(place: Place, *, counts: bool = True) -> list[str]:
    return [str(one) for one in advise(url(place), has_counters=counts, deadline=10.0)]


def test_one_that_keeps_what_it_counts_is_well(place: Place) -> None:
    place.start("--appendonly", "yes", "--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru")
    assert said(place) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--maxmemory-policy", "allkeys-lru"), "allkeys-lru evicts counters"),
        (("--maxmemory-policy", "allkeys-lfu"), "allkeys-lfu evicts counters"),
        (("--maxmemory", "100mb"), "cannot count limits"),
    ],
)
def test_eviction_that_takes_counters(place: Place, options: tuple[str, ...], words: str) -> None:
    place.start("--appendonly", "yes", *options)
    (told,) = said(place)
    assert told.startswith("REDIS_URL: warning: maxmemory-policy ")
    assert words in told
    assert told.endswith("volatile-lru: then Redis evicts only keys with a time to live.")
    assert said(place, counts=False) == []


@pytest.mark.parametrize(
    ("off", "words"),
    [(-61.0, "its clock is 61 s ahead of this"), (61.0, "61 s behind this"), (1.0, "")],
)
def test_clocks_that_are_apart(place: Place, off: float, words: str) -> None:
    """Budget windows follow the caller's clock, and buckets fill by the server's."""
    place.start("--appendonly", "yes")

    def wall() -> float:
        return time.time() + off

    found = examine(url(place), has_counters=True, deadline=10.0, wall=wall)
    assert words in "".join(map(str, found.mistakes))
    assert bool(found.mistakes) is bool(words)
    assert examine(url(place), has_counters=False, deadline=10.0, wall=wall).mistakes == []


def test_near_questions_need_vector_sets(place: Place) -> None:
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
    told = advise(url(place), has_counters=False, near=True, deadline=10.0)
    assert ["no vector sets" in str(one) for one in told] == [True] * lacks


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
def test_who_has_vector_sets(kind: str, version: str, lacks: bool) -> None:
    assert bool(list(_check_vector_sets(kind, version))) is lacks


def test_nothing_on_the_disk(place: Place) -> None:
    place.start()
    (told,) = said(place)
    assert told == (
        "REDIS_URL: warning: Redis keeps nothing on disk: after a restart limits begin at "
        "zero, and the gateway rebuilds budgets from the ledger. Set appendonly to yes."
    )


def test_snapshots_alone(place: Place) -> None:
    """Old counters that still exist are not rebuilt."""
    place.start()
    with place.admin() as admin:
        admin.config_set("save", "3600 1")
    (told,) = said(place)
    assert told == (
        "REDIS_URL: warning: Redis keeps only snapshots: a crash resets counters to the "
        "last one, and clients can overspend budgets by what came later. Set appendonly to yes."
    )


def test_one_that_tells_nothing_of_its_configuration_is_not_guessed_at(place: Place) -> None:
    """Hosted servers refuse CONFIG."""
    place.start()
    with place.admin() as admin:
        admin.acl_setuser("default", nopass=True, enabled=True, keys=["*"], commands=["+@all"])
        admin.execute_command("ACL", "SETUSER", "default", "-config")
    assert said(place) == []


def test_a_replica(place: Place) -> None:
    place.start("--appendonly", "yes", "--replicaof", "127.0.0.1", "1")
    (told,) = said(place)
    assert told == (
        f"REDIS_URL: error: 127.0.0.1:{place.port} is a replica and takes no writes. "
        "Name its primary, or the sentinels."
    )


def test_a_node_of_a_cluster_by_the_wrong_form(place: Place) -> None:
    place.start("--appendonly", "yes", "--cluster-enabled", "yes", "--cluster-port", str(_free()))
    with place.admin() as admin:
        admin.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    (told,) = advise(url(place), has_counters=True, deadline=10.0)
    assert told.level == "error"
    assert told.hint == "Write redis+cluster://host:port,host:port in place of redis://host:port."
    assert advise(f"redis+cluster://127.0.0.1:{place.port}", has_counters=True, deadline=10.0) == []


@pytest.mark.parametrize("form", ["redis://127.0.0.1:{}", "redis+sentinel://127.0.0.1:{}/main",
                                  "redis+cluster://127.0.0.1:{}"])  # fmt: skip
def test_one_that_is_away(place: Place, form: str) -> None:
    (told,) = advise(form.format(place.port), has_counters=True)
    assert told.level == "warning"
    assert told.message.startswith("does not answer: no connection (127.0.0.1:")


def test_one_that_is_silent_is_waited_for_no_longer_than_said(place: Place) -> None:
    place.start()
    with place.stopped():
        (told,) = advise(url(place), has_counters=False, deadline=0.1)
    assert told == Mistake(
        level="warning", file="REDIS_URL",
        message=f"does not answer: no answer in time (127.0.0.1:{place.port}).",
        hint="Nothing is shared until it answers.",
    )  # fmt: skip


def test_a_password_is_asked_for_and_never_told(place: Place) -> None:
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


def test_a_certificate_of_any_server() -> None:
    """The setting accepts any trusted certificate, whatever name it is for."""
    (told,) = _check_role({}, parse_url("rediss://h?ssl_check_hostname=no"))
    assert "ssl_check_hostname=false takes a trusted certificate of any server" in str(told)
    assert _check_role({}, parse_url("rediss://h")) == []
    assert _check_role({}, parse_url("redis://h?ssl_check_hostname=no")) == []
