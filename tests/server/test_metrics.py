"""Test that `/metrics` needs a key if keys exist, and that probes tell strangers one word."""

import httpx
import pytest

from gateway.runtime.composition import VERSION
from gateway.settings.diff import list_changes
from gateway.settings.loader import load
from tests.e2e.world import Change, Config, Make, World
from tests.server.gate import CLIENT_KEY, KEYS
from tests.server.test_scopes import FILE

ADMIN, READER = "admin-key-0123456789-never-shown", "reader-key-0123456789-never-shown"
EVERYWHERE = "0.0.0.0"


def listen_on(host: str, **metrics: object) -> Change:
    """Let a gateway listen at an address, with settings for its metrics."""

    def change(value: Config) -> None:
        value["server"] = {"host": host, "open": True}
        value["metrics"] = metrics

    return change


def use_key_file(value: Config) -> None:
    value["keys"] = "keys.yaml"


def ask(world: World, key: str = "", path: str = "/metrics") -> httpx.Response:
    return world.client.get(path, headers={"authorization": f"Bearer {key}"} if key else {})


@pytest.mark.parametrize(
    ("host", "environ", "status"),
    [
        (EVERYWHERE, {"TIERGATE_KEYS": KEYS}, 401), (EVERYWHERE, {"TIERGATE_ADMIN_KEY": ADMIN}, 401),
        (EVERYWHERE, {}, 200), ("192.168.1.5", {"TIERGATE_KEYS": KEYS}, 401), ("gateway.internal", {"TIERGATE_KEYS": KEYS}, 401),
        ("127.0.0.1", {"TIERGATE_KEYS": KEYS}, 401), ("localhost", {"TIERGATE_ADMIN_KEY": ADMIN}, 401),
        ("::1", {"TIERGATE_KEYS": KEYS}, 401), ("127.0.0.1", {}, 200),
    ],
)  # fmt: skip
def test_metrics_need_a_key_if_keys_exist(
    make: Make, host: str, environ: dict[str, str], status: int
) -> None:
    world = make(listen_on(host), **environ)
    assert ask(world).status_code == status
    schema = world.client.get("/openapi.json").json()["paths"]["/metrics"]["get"]
    assert ("security" in schema) is (status == 200)


@pytest.fixture
def closed(make: Make) -> World:
    """A gateway that others can reach, with a key for each kind of reader."""
    made: World = make(
        use_key_file,
        listen_on(EVERYWHERE, key=READER),
        files={"keys.yaml": FILE},
        TIERGATE_ADMIN_KEY=ADMIN,
    )
    return made


def test_metrics_accept_admin_keys_and_the_metrics_key_alone(closed: World) -> None:
    """The metrics key opens nothing else, and a client's key opens no metrics."""
    for key in (ADMIN, "boss", READER):
        assert "tiergate_calls_in_flight" in ask(closed, key).text, key
    for key in ("", "free", "late", "gone", READER[:-1], f"{READER}x"):
        reply = ask(closed, key)
        assert (reply.status_code, "tiergate_" in reply.text) == (401, False), key
    for path in ("/admin/costs", "/v1/models"):
        assert ask(closed, READER, path).status_code == 401
    both = [("authorization", f"Bearer {READER}"), ("x-api-key", "free")]
    assert closed.client.get("/metrics", headers=both).status_code == 401


def test_without_a_metrics_key_the_refusal_says_what_to_set(make: Make) -> None:
    """A program on the same machine needs a key too: a proxy beside the gateway is such a program."""
    world = make(listen_on(EVERYWHERE), TIERGATE_KEYS=KEYS)
    for key in ("", CLIENT_KEY):
        reply = ask(world, key)
        assert reply.status_code == 401
        assert "metrics.key" in reply.json()["error"]["message"]


def test_the_operator_can_open_metrics_that_name_no_keys_or_tenants(make: Make) -> None:
    """`metrics.open: true` opens them as before, but metrics that name keys or tenants still need a
    key.
    """
    world = make(listen_on(EVERYWHERE, open=True), TIERGATE_KEYS=KEYS)
    assert ask(world).status_code == 200
    world = make(listen_on(EVERYWHERE, open=True))
    assert world.client.get("/metrics", headers={"host": "gateway"}).status_code == 200
    for name in ("keys", "tenants"):
        world = make(listen_on(EVERYWHERE, open=True, **{name: True}), TIERGATE_ADMIN_KEY=ADMIN)
        assert [ask(world, key).status_code for key in ("", ADMIN)] == [401, 200]


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_probes_give_strangers_a_word_and_readers_the_details(closed: World, path: str) -> None:
    closed.app.readiness._fresh_until = 0.0
    for key in ("", "free", "wrong"):
        reply = ask(closed, key, path)
        assert (reply.status_code, reply.json()) == (200, {"status": "ok"})
    details = ask(closed, READER, path).json()
    assert details == {
        "status": "ok",
        "version": VERSION,
        "config": closed.gateway.revision.version,
    }


def test_a_stranger_does_not_learn_why_the_gateway_is_not_ready(closed: World) -> None:
    """Reasons name disks and servers; the word and the status are enough for a balancer."""
    closed.app.admission.shutdown.has_begun = True
    reply = ask(closed, path="/ready")
    assert (reply.status_code, reply.json()) == (503, {"status": "draining"})
    assert ask(closed, ADMIN, "/ready").json()["reason"] == "The gateway is stopping."
    program = {"accept": "application/json"}
    details = closed.client.get("/", headers=program).json()
    assert (details["status"], details.get("reason"), details.get("version")) == (
        "draining",
        None,
        None,
    )
    page = closed.client.get("/").text
    assert "Not ready<" in page
    assert VERSION not in page
    details = closed.client.get("/", headers={**program, "x-api-key": "free"}).json()
    assert details["reason"] == "The gateway is stopping."


def test_the_metrics_key_is_in_no_list_of_changes(closed: World) -> None:
    file = closed.folder / "gateway.yaml"
    before = load(file, {})
    file.write_text(file.read_text().replace(READER, "another-key-never-shown"))
    (change,) = list_changes(before, load(file, {}))
    assert (change.path, change.waits) == ("metrics.key", True)
    assert "never-shown" not in str(change)
    assert "never-shown" not in repr(before.config)
