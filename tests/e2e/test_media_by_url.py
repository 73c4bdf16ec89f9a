"""Media by URL, over real sockets.

Where the configuration allows it, the gateway fetches files for targets that take only data.
"""

import base64
import ipaddress
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from gateway.core import jsonio
from gateway.upstream.media_fetch import AddressGuard
from tests.e2e.four_labs import CHAT, ENDPOINTS, GEMINI, MESSAGES, answer, four
from tests.e2e.upstream import Answer, Upstream, failing
from tests.e2e.world import Change, Config, Loop, Make, World

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels" * 20
HOST = "pics.example"


@pytest.fixture
def web(loop: Loop) -> Iterator[Upstream]:
    """Start a host of pictures; its name is `pics.example`."""
    host = Upstream()
    loop.run(host.start())
    host.on("/", picture())
    yield host
    loop.run(host.stop())


def picture(body: bytes = PNG, type: str = "image/png") -> Answer:
    return Answer(pieces=(body,), length=len(body), headers=(("content-type", type),))


async def resolve_host(host: str, port: int) -> list[str]:
    assert port
    if host != HOST:
        raise OSError("no such host")
    return ["127.0.0.1"]


OPEN = AddressGuard(
    resolve=resolve_host, is_public=lambda address: address == ipaddress.ip_address("127.0.0.1")
)


def port(web: Upstream) -> int:
    return int(web.url.rpartition(":")[2])


def fetching(web: Upstream) -> Change:
    def change(value: Config) -> None:
        four(value)
        value["media"] = {"fetch": "on", "allow": [f"{HOST}:{port(web)}"], "timeout": "5s"}

    return change


def data_only(name: str) -> Change:
    """Make a provider take media only as data, not by URL."""

    def change(value: Config) -> None:
        value["providers"][name]["media"] = "data"

    return change


def make_body(url: str, model: str = "gemini/smart", **more: Any) -> dict[str, Any]:
    image = {"type": "image_url", "image_url": {"url": url}}
    content = [{"type": "text", "text": "What is this?"}, image]
    return {"model": model, "messages": [{"role": "user", "content": content}], **more}


def picture_url(web: Upstream, path: str = "/p.png") -> str:
    return f"http://{HOST}:{port(web)}{path}"


DATA = base64.b64encode(PNG).decode()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_chat_clients_picture_reaches_gemini_as_data(
    make: Make, upstream: Upstream, web: Upstream, stream: bool
) -> None:
    world = make(fetching(web), guard=OPEN)
    upstream.on(ENDPOINTS[GEMINI], answer(GEMINI, stream=stream))
    reply = world.ask(make_body(picture_url(web), stream=stream))
    assert reply.status_code == 200, reply.text
    (request,) = upstream.requests
    assert request.json["contents"][0]["parts"] == [
        {"text": "What is this?"},
        {"inlineData": {"mimeType": "image/png", "data": DATA}},
    ]
    (fetched,) = web.requests
    assert (fetched.method, fetched.path) == ("GET", "/p.png")
    header_names = {name for name, _ in fetched.headers}
    assert header_names == {b"host", b"accept", b"accept-encoding", b"user-agent"}
    entry = world.entry()
    assert (entry.state, entry.attempts, entry.dropped) == ("settled", 1, ())


@pytest.mark.parametrize(("lab", "where"), [(CHAT, "native"), (MESSAGES, "translated")])
def test_with_fetching_a_provider_that_takes_only_data_gets_data(
    make: Make, upstream: Upstream, web: Upstream, lab: str, where: str
) -> None:
    """In a native request only the part that holds the picture changes."""
    world = make(fetching(web), data_only(lab), guard=OPEN)
    upstream.on(ENDPOINTS[lab], answer(lab))
    body = make_body(picture_url(web), f"{lab}/smart", x_unknown=1)
    raw = jsonio.dumps(body).replace(b'"x_unknown":1', b'"x_unknown": 1.0')
    assert world.ask(raw).status_code == 200
    (request,) = upstream.requests
    part = request.json["messages"][0]["content"][1]
    if where == "native":
        url = f"data:image/png;base64,{DATA}"
        assert part == {"type": "image_url", "image_url": {"url": url}}
        assert b'"x_unknown":1.0' in request.body
    else:
        source = {"type": "base64", "media_type": "image/png", "data": DATA}
        assert part == {"type": "image", "source": source}
    assert web.connections == 1


def test_a_picture_is_fetched_once_for_all_attempts(
    make: Make, upstream: Upstream, web: Upstream
) -> None:
    world = make(fetching(web), guard=OPEN)
    upstream.on(ENDPOINTS[GEMINI], failing(503), answer(GEMINI))
    body = make_body(picture_url(web))
    body["messages"][0]["content"] += body["messages"][0]["content"][1:]
    assert world.ask(body).status_code == 200
    assert len(upstream.requests) == 2
    assert len(web.requests) == 1
    assert world.entry().attempts == 2


FAILS: list[tuple[str, Callable[[Upstream], str], Answer]] = [
    ("not there", picture_url, failing(404)),
    ("no picture", picture_url, picture(b"<html>" + b"x" * 50, "text/html")),
    ("an address", lambda web: f"http://127.0.0.1:{port(web)}/", picture()),
    ("elsewhere", lambda web: f"http://other.example:{port(web)}/", picture()),
    ("inside", lambda _: "http://169.254.169.254/latest/meta-data/", picture()),
]


@pytest.mark.parametrize(
    ("url", "answer_of_host"), [row[1:] for row in FAILS], ids=[row[0] for row in FAILS]
)
def test_a_picture_that_cannot_be_fetched_is_a_400_that_names_the_part(
    make: Make,
    upstream: Upstream,
    web: Upstream,
    url: Callable[[Upstream], str],
    answer_of_host: Answer,
) -> None:
    """The gateway asks and charges no target, and its message does not describe the network."""
    world = make(fetching(web), guard=OPEN)
    web.on("/", answer_of_host)
    for stream in (False, True):
        reply = world.ask(make_body(url(web), stream=stream))
        error = reply.json()["error"]
        assert (reply.status_code, error["code"], error["param"]) == (
            400, "invalid_request", "messages.image",
        )  # fmt: skip
        assert error["message"].startswith("messages.image: the gateway did not fetch the file")
        assert reply.headers["x-should-retry"] == "false"
    assert upstream.connections == 0
    entries = world.entries()
    assert {(item.state, item.problem, item.attempts, item.cost) for item in entries} == {
        ("refused", "invalid_request", 0, Decimal(0))
    }


def test_the_route_endpoint_fetches_nothing(make: Make, upstream: Upstream, web: Upstream) -> None:
    """POST /v1/route decides as the call does, without a request to anyone."""
    world = make(fetching(web), guard=OPEN)
    reply = world.client.post("/v1/route", json=make_body(picture_url(web)))
    (row,) = reply.json()["plan"]
    assert (row["dialect"], row["losses"]) == (GEMINI, [])
    assert (upstream.connections, web.connections) == (0, 0)


def test_no_configuration_lets_the_gateway_fetch_from_private_addresses(
    make: Make, upstream: Upstream, web: Upstream
) -> None:
    """No configuration can open the guard to private addresses."""

    def local(value: Config) -> None:
        value["media"]["allow"] = [f"127.0.0.1:{port(web)}", f"localhost:{port(web)}"]

    world: World = make(fetching(web), local)
    for host in ("127.0.0.1", "localhost"):
        reply = world.ask(make_body(f"http://{host}:{port(web)}/"))
        assert reply.status_code == 400
        assert "not on the public internet" in reply.json()["error"]["message"]
    assert (upstream.connections, web.connections) == (0, 0)
