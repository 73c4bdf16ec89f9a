"""End users over real sockets: a hash of each in the rows, and its name nowhere."""

from typing import Any

import pytest

from gateway.core import jsonio
from tests.e2e.upstream import Upstream, whole
from tests.e2e.world import Config, Make, World, chat

ANN, BOB = "ann-4711@example.com", "bob-0815@example.com"


def files(world: World) -> bytes:
    """Return all that the stopped gateway has left: files, log and metrics."""
    figures, _ = world.gateway.ledger_runtime.metrics.render()
    world.close()
    paths = (path for path in (world.folder / "data").rglob("*") if path.is_file())
    return b"".join([*(path.read_bytes() for path in paths), repr(world.log).encode(), figures])


def test_rows_have_a_hash_of_the_end_user_and_nothing_has_its_name(
    make: Make, upstream: Upstream
) -> None:
    """The header wins over the body; the provider gets the client's bytes."""

    def counting(value: Config) -> None:
        value["metrics"] = {"keys": True, "teams": True}
        value["traces"] = {"endpoint": upstream.url}

    world = make(counting, TIERGATE_ADMIN_KEY="admin-key-0123456789")
    upstream.on("/acme", whole())
    body = jsonio.dumps(chat(user=ANN, max_tokens=10)).replace(b'"smart"', b'"able-1"')
    assert world.ask(body).status_code == 200
    assert upstream.requests[-1].body == body
    world.ask(chat(safety_identifier=ANN))
    world.ask(chat(user=BOB))
    world.ask(chat(user=BOB), x_tiergate_user=ANN)
    world.ask(chat())
    assert world.ask(b'{"messages": 1}', x_tiergate_user=ANN).status_code == 400
    left = files(world)
    assert ANN.encode() not in left
    assert BOB.encode() not in left
    ann, same, bob, header, nobody, _ = (row.end_user for row in world.entries())
    assert ann == same == header
    assert len({ann, bob, nobody}) == 3
    assert nobody is None


@pytest.mark.parametrize("restarts", [False, True])
def test_the_hash_outlives_the_process_and_costs_are_grouped_by_it(
    make: Make, upstream: Upstream, *, restarts: bool
) -> None:
    world = make(TIERGATE_ADMIN_KEY="admin-key-0123456789")
    upstream.on("/acme", whole())
    world.ask(chat(user=ANN))
    if restarts:
        world.close()
        world = make(
            TIERGATE_ADMIN_KEY="admin-key-0123456789", TIERGATE_DATA=str(world.folder / "data")
        )
    world.ask(chat(user=ANN))
    world.ask(chat())
    headers = {"authorization": "Bearer admin-key-0123456789"}
    answer: Any = world.client.get("/admin/costs", params={"by": "user"}, headers=headers).json()
    groups = {group["user"]: group["calls"] for group in answer["groups"]}
    (ann,) = groups.keys() - {None}
    assert groups == {ann: 2, None: 1}
    answer = world.client.get(
        "/admin/series", params={"by": "user", "only": f"user={ann}"}, headers=headers
    ).json()
    assert [(total["user"], total["calls"]) for total in answer["totals"]] == [(ann, 2)]
