"""Test open keys: the gateway answers only names that it knows, and no web page from elsewhere."""

from pathlib import Path

import pytest

from gateway.runtime.build import find_cautions
from gateway.server.cors import CorsPolicy
from gateway.server.open_access import OpenAccess
from gateway.settings.errors import ConfigError
from gateway.settings.loader import load
from tests.e2e.upstream import Upstream
from tests.e2e.world import Change, Config, Make, World, chat
from tests.server.gate import (
    CLIENT_KEY,
    ENDPOINTS,
    KEYS,
    Gate,
    answers,
    family,
    request,
    valid_body,
)

UNKNOWN_HOSTS = ["evil.example", "evil.example:8484", "127.0.0.1.evil.example", "localhost.evil.example", "192.168.1.5"]  # fmt: skip
LOOPBACK_HOSTS = [
    "127.0.0.1", "127.0.0.1:8484", "localhost", "LOCALHOST:1", "localhost.", "[::1]:8484", "127.8.8.8",
    "host.docker.internal:8484", "",
]  # fmt: skip
OTHERS = [
    ("GET", "/"), ("GET", "/v1/models"), ("GET", "/v1/usage"), ("GET", "/v1/models/auto"), ("POST", "/v1/route"), ("POST", "/v1/feedback"),
    ("GET", "/v1/responses/resp_1"), ("DELETE", "/v1/responses/resp_1"), ("GET", "/openapi.json"), ("GET", "/metrics"),
    ("GET", "/dashboard"), ("GET", "/dashboard/session"), ("POST", "/dashboard/session"), ("GET", "/admin/costs"),
    ("POST", "/admin/reload"), ("GET", "/nowhere"), ("GET", "/v1/chat/completions"), ("POST", "/chat/completions"),
]  # fmt: skip
PAGE = {"origin": "https://evil.example", "content-type": "text/plain"}


def open_gateway(**server: object) -> Change:
    """Let a gateway listen anywhere though its keys are open, as operators do in containers."""

    def change(value: Config) -> None:
        value["server"] = {"open": True, **server}

    return change


@pytest.mark.parametrize("host", UNKNOWN_HOSTS)
@pytest.mark.parametrize("path", ENDPOINTS)
def test_a_host_name_that_the_gateway_does_not_know_is_refused(
    gate: Gate, provider: Upstream, path: str, host: str
) -> None:
    """DNS rebinding: the page's own name resolves to this machine, and its browser sends that name."""
    requests_before = len(provider.requests)
    data = request(path, valid_body(path), b"connection: close")
    (reply,) = answers(gate.exchange(data.replace(b"localhost", host.encode())))
    assert reply.status == 403
    assert b"server.hosts" in reply.body
    assert family(path) in path or b"error" in reply.body
    assert len(provider.requests) == requests_before


@pytest.mark.parametrize("listening", ["127.0.0.1", "0.0.0.0"])
def test_every_endpoint_refuses_unknown_host_names_and_pages(make: Make, listening: str) -> None:
    """The operator's `server.open` lets in no strange name or page, on loopback or on every
    address.
    """
    world = make(open_gateway(host=listening))
    for method, path in OTHERS:
        for headers in ({"host": "evil.example"}, PAGE, {"origin": "null"}):
            reply = world.client.request(method, path, headers=headers)
            assert reply.status_code == 403, (path, headers, reply.text)
            assert "access-control-allow-origin" not in reply.headers


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_probes_answer_every_host_name(world: World, path: str) -> None:
    """Balancers and kubelets ask by an address, by a name of their own, or by none."""
    for headers in ({"host": "10.0.0.7:8484"}, {"host": "evil.example"}, PAGE):
        assert world.client.get(path, headers=headers).status_code == 200


@pytest.mark.parametrize("host", LOOPBACK_HOSTS)
def test_names_of_this_machine_are_known(world: World, host: str) -> None:
    assert world.ask(chat(), host=host).status_code == 200


def test_the_operator_can_list_more_host_names_and_their_pages_may_call(make: Make) -> None:
    """A page of the gateway itself, like the start page, calls by the name that it was loaded from."""
    world = make(open_gateway(hosts=["gateway.internal", "192.168.1.5"]))
    for host in ("gateway.internal", "Gateway.Internal:8484", "192.168.1.5:8484"):
        assert world.ask(chat(), host=host).status_code == 200
        assert world.ask(chat(), host=host, origin=f"http://{host}").status_code == 200
    for host in ("other.internal", "a.gateway.internal", "192.168.1.6"):
        assert world.ask(chat(), host=host).status_code == 403
    reply = world.ask(chat(), host="gateway.internal", origin="http://evil.example")
    assert reply.status_code == 403


def test_the_operator_can_allow_every_host_name_and_page(make: Make) -> None:
    """With `hosts: "*"` and `cors: "*"` the gateway checks nothing, like `server.open` before."""
    world = make(open_gateway(hosts="*", cors="*"))
    assert world.ask(chat(), host="evil.example").status_code == 200
    assert world.ask(chat(), origin="https://evil.example").status_code == 200


def test_with_keys_the_gateway_checks_no_host_names(make: Make) -> None:
    """If the gateway requires a key, a page from elsewhere has none, whatever host it names."""
    world = make(TIERGATE_KEYS=KEYS)
    for headers in ({"host": "evil.example"}, {"origin": "https://evil.example"}):
        assert world.ask(chat(), x_api_key=CLIENT_KEY, **headers).status_code == 200
        assert world.ask(chat(), **headers).status_code == 401


def test_each_request_of_a_connection_is_checked(gate: Gate) -> None:
    """The gateway recognizes a repeated head by its bytes; one more byte makes another head."""
    body = valid_body(ENDPOINTS[0])
    good, bad = (
        b"POST %b HTTP/1.1\r\nhost: %b\r\ncontent-length: %d\r\n\r\n%b"
        % (ENDPOINTS[0].encode(), host, len(body), body)
        for host in (b"localhost", b"localhosts")
    )
    with gate.dial() as connection:
        for data, status in ((good, 200), (good, 200), (bad, 403), (good, 200), (bad, 403)):
            connection.sendall(data)
            received = b""
            while not received.endswith(b"}"):
                received += connection.recv(65536)
            assert received.startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize(
    ("listening", "host", "known"),
    [
        ("127.0.0.1", "192.168.1.5", False), ("0.0.0.0", "192.168.1.5:80", True), ("::", "[2001:db8::1]:80", True),
        ("", "10.0.0.1", True), ("0.0.0.0", "evil.example", False), ("192.168.1.5", "192.168.1.5", True),
        ("192.168.1.5", "192.168.1.6", False), ("box.lan", "BOX.lan:8484", True), ("::1", "[::1]", True),
        ("0.0.0.0", "[v1.a]", False), ("0.0.0.0", "192.168.1.5@evil", False), ("127.0.0.1", "[::ffff:127.0.0.1]", True),
    ],
)  # fmt: skip
def test_the_address_that_the_gateway_listens_on_is_known(
    listening: str, host: str, known: bool
) -> None:
    """If it listens on all addresses it knows every address: no page has an address for a name."""
    access = OpenAccess(listening, [], CorsPolicy([]))
    assert access.knows_host([(b"host", host.encode())]) is known
    assert OpenAccess(listening, ["*"], CorsPolicy([])).knows_host([(b"host", host.encode())])


@pytest.mark.parametrize("hosts", ['["*", a]', "[http://a]", "[a:80]", '["a b"]', '[""]', "[a/b]"])
def test_a_wrong_host_name_is_a_configuration_error(tmp_path: Path, hosts: str) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(f"version: 1\nserver: {{hosts: {hosts}}}\n")
    with pytest.raises(ConfigError, match=r"server\.hosts"):
        load(file, {})


def test_the_gateway_warns_of_open_keys_for_every_host_name(make: Make) -> None:
    world, with_keys = (
        make(open_gateway(hosts="*")),
        make(open_gateway(hosts="*"), TIERGATE_KEYS=KEYS),
    )
    (warning,) = find_cautions(world.gateway.built_config, world.gateway.keys, {})
    assert "through a host name of its own" in warning.message
    assert find_cautions(with_keys.gateway.built_config, with_keys.gateway.keys, {}) == []


def test_the_gateway_warns_of_foreign_objects_if_keys_share_an_account(make: Make) -> None:
    def pass_foreign(value: Config) -> None:
        value["passthrough"] = {"foreign": "pass"}

    world, with_keys = make(pass_foreign), make(pass_foreign, TIERGATE_KEYS=KEYS)
    (warning,) = find_cautions(with_keys.gateway.built_config, with_keys.gateway.keys, {})
    assert (warning.path, warning.level) == ("passthrough.foreign", "warning")
    assert find_cautions(world.gateway.built_config, world.gateway.keys, {}) == []


def test_the_gateway_warns_of_foreign_responses_if_keys_share_an_account(make: Make) -> None:
    def pass_foreign(value: Config) -> None:
        value["responses"] = {"foreign": "pass"}

    def keep_responses(value: Config) -> None:
        value["providers"]["acme"]["keeps_responses"] = True

    cases = [
        (make(pass_foreign), "does nothing"),
        (make(pass_foreign, keep_responses), ""),
        (make(pass_foreign, keep_responses, TIERGATE_KEYS=KEYS), "the answers of all keys"),
        (make(keep_responses, TIERGATE_KEYS=KEYS), ""),
    ]
    for world, words in cases:
        cautions = find_cautions(world.gateway.built_config, world.gateway.keys, {})
        assert [caution.path for caution in cautions] == ["responses.foreign"] * bool(words)
        assert all(words in caution.message for caution in cautions)
