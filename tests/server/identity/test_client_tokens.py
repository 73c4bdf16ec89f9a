"""Test tokens of an identity provider in place of keys: what they open, and what is refused."""

import base64
import hmac
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from gateway.core import jsonio
from gateway.runtime.build import build_config
from gateway.settings.loader import load
from tests.e2e.world import Make, World, chat
from tests.server.identity.issuer import ABSENT, AUDIENCE, Issuer
from tests.server.test_scopes import digest

DISCOVERY = "/realm/.well-known/openid-configuration"
NAMES = "ann@example.com", "bob"
"""The subject of the issuer's tokens, and another end user."""
FILE: dict[str, dict[str, object]] = {
    "eng": {"sha256": digest("eng"), "tiers": ["fast"]},
    "support": {"sha256": digest("support")},
    "gone": {"sha256": digest("gone"), "revoked": "2026-11-01"},
}


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer() as running:
        yield running


@pytest.fixture
def world(make: Make, issuer: Issuer) -> World:
    return make_world(make, issuer)


def make_world(make: Make, issuer: Issuer, **settings: object) -> World:
    def set_tokens(value: dict[str, Any]) -> None:
        value["keys"] = "keys.yaml"
        keys = {"engineering": "eng", "support": "support", "old": "gone"}
        value["tokens"] = [{"issuer": issuer.url, "audience": AUDIENCE, "keys": keys, **settings}]

    running: World = make(set_tokens, files={"keys.yaml": FILE})
    return running


def ask(
    world: World, token: str, model: str = "fast", x_tiergate_user: str = "", **members: str
) -> httpx.Response:
    headers = {"authorization": f"Bearer {token}"}
    if x_tiergate_user:
        headers["x-tiergate-user"] = x_tiergate_user
    body = chat(model=model, **members)
    return world.client.post("/v1/chat/completions", json=body, headers=headers)


def read_message(reply: httpx.Response) -> str:
    message: str = reply.json()["error"]["message"]
    return message


def test_a_token_may_do_what_its_key_may(world: World, issuer: Issuer) -> None:
    """The first value of the mapping that the token has decides; the row names the key."""
    token = issuer.sign()
    reply = ask(world, token)
    assert reply.status_code == 200, reply.text
    assert ask(world, token, "smart").status_code == 403
    both = issuer.sign(groups=["support", "engineering"])
    assert ask(world, both, "smart").status_code == 403
    support = issuer.sign(groups="support")
    assert ask(world, support, "smart").status_code == 200
    usage = world.client.get("/v1/usage", headers={"x-api-key": token}).json()
    assert (usage["key"], usage["total"]["calls"]) == ("eng", 3)


def test_every_endpoint_takes_a_token_at_its_first_use(world: World, issuer: Issuer) -> None:
    for path in ("/v1/models", "/v1/usage", "/v1/models/auto"):
        token = issuer.sign(jti=path)
        reply = world.client.get(path, headers={"authorization": f"Bearer {token}"})
        assert reply.status_code == 200, (path, reply.text)


def test_a_token_is_verified_once(make: Make, issuer: Issuer) -> None:
    world = make_world(make, issuer)
    token, read_count = issuer.sign(), len(issuer.paths)
    for _ in range(3):
        assert ask(world, token).status_code == 200
    assert issuer.paths[read_count:] == [DISCOVERY, "/realm/keys"]
    later = [0]
    world.gateway.keys._clock = lambda: time.time() + later[0]
    for later[0], status in ((301, 200), (361, 401)):
        assert ask(world, token).status_code == status


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"exp": 1_000_000_000}, "has expired", id="expired"),
        pytest.param({"nbf": 4_000_000_000}, "claim 'nbf' is wrong", id="not valid yet"),
        pytest.param({"exp": ABSENT}, "claim 'exp' is wrong", id="no end"),
        pytest.param({"sub": ABSENT}, "claim 'sub' is wrong", id="no subject"),
        pytest.param({"aud": ABSENT}, "claim 'aud' is wrong", id="no audience"),
        pytest.param({"aud": "another"}, "claim 'aud' is wrong", id="another audience"),
        pytest.param({"aud": ["a", "b"]}, "claim 'aud' is wrong", id="other audiences"),
        pytest.param({"iss": "https://evil.example"}, "does not know the issuer", id="another issuer"),
        pytest.param({"iss": ABSENT}, "does not know the issuer", id="no issuer"),
    ],
)  # fmt: skip
def test_a_token_with_a_wrong_claim_is_refused(
    world: World, issuer: Issuer, changes: dict[str, Any], words: str
) -> None:
    reply = ask(world, issuer.sign(**changes))
    assert reply.status_code == 401
    assert words in read_message(reply)


@pytest.mark.parametrize(
    "groups",
    [
        pytest.param(["strangers"], id="other values"),
        pytest.param(ABSENT, id="no claim"),
        pytest.param({"engineering": True}, id="an object"),
        pytest.param([["engineering"]], id="a nested list"),
    ],
)
def test_a_token_without_a_mapped_value_gives_no_access(
    world: World, issuer: Issuer, groups: object
) -> None:
    reply = ask(world, issuer.sign(groups=groups))
    assert reply.status_code == 403
    assert "gives no access" in read_message(reply)


def test_a_token_of_a_revoked_key_gives_no_access(world: World, issuer: Issuer) -> None:
    reply = ask(world, issuer.sign(groups=["old"]))
    assert reply.status_code == 403
    assert "not active" in read_message(reply)


def encode(value: object) -> str:
    return base64.urlsafe_b64encode(jsonio.dumps(value)).decode().rstrip("=")


def forge_unsigned(issuer: Issuer) -> str:
    _, payload, _ = issuer.sign().split(".")
    return f"{encode({'alg': 'none', 'kid': issuer.key.kid})}.{payload}."


def forge_with_public_key(issuer: Issuer) -> str:
    """Sign with the public key as a shared secret (RFC 8725, section 2.1)."""
    _, payload, _ = issuer.sign().split(".")
    signed = f"{encode({'alg': 'HS256', 'kid': issuer.key.kid})}.{payload}"
    secret = issuer.key.as_pem(private=False)
    signature = hmac.digest(secret, signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


def forge_with_other_key(issuer: Issuer) -> str:
    claims = jwt.decode(issuer.sign(), issuer.key).claims
    other = RSAKey.generate_key(2048)
    return jwt.encode({"alg": "RS256", "kid": issuer.key.kid}, claims, other)


def sign_with_other_algorithm(issuer: Issuer) -> str:
    return issuer.sign("RS512")


def change_payload(issuer: Issuer) -> str:
    header, _, signature = issuer.sign().split(".")
    claims = jwt.decode(issuer.sign(), issuer.key).claims | {"groups": ["support"]}
    return f"{header}.{encode(claims)}.{signature}"


@pytest.mark.parametrize(
    "forge",
    [
        forge_unsigned,
        forge_with_public_key,
        forge_with_other_key,
        sign_with_other_algorithm,
        change_payload,
    ],
)
def test_a_forged_token_is_refused(
    world: World, issuer: Issuer, forge: Callable[[Issuer], str]
) -> None:
    reply = ask(world, forge(issuer))
    assert reply.status_code == 401
    assert "signature of the token is not valid" in read_message(reply)


@pytest.mark.parametrize(
    "token", ["eyJ.a.b", "eyJ..", "eyJhbGciOiJSUzI1NiJ9.e30.x", "eyJ\xe9.\xe9.x"]
)
def test_a_broken_token_is_refused(world: World, token: str) -> None:
    reply = world.client.get("/v1/models", headers={b"x-api-key": token.encode("latin-1")})
    assert reply.status_code == 401


def test_a_denied_token_is_refused(make: Make, issuer: Issuer) -> None:
    world = make_world(make, issuer, deny=["sub=bob@example.com", "jti=stolen"])
    assert ask(world, issuer.sign()).status_code == 200
    for change in ({"sub": "bob@example.com"}, {"jti": "stolen"}):
        reply = ask(world, issuer.sign(**change))
        assert reply.status_code == 401
        assert "withdrawn" in read_message(reply)


def test_a_change_of_its_key_denies_a_token_at_once(make: Make, issuer: Issuer) -> None:
    """The list of one key counts for the tokens of that key, also for those verified before."""
    world = make_world(make, issuer)
    token, other = issuer.sign(), issuer.sign(groups="support")
    assert [ask(world, item, "fast").status_code for item in (token, other)] == [200, 200]
    denying = {**FILE, "eng": {**FILE["eng"], "denied_tokens": [f"sub={NAMES[0]}", "jti=7"]}}
    (world.folder / "keys.yaml").write_bytes(jsonio.dumps(denying))
    world.gateway.keys.refresh()
    reply = ask(world, token)
    assert (reply.status_code, "withdrawn" in read_message(reply)) == (401, True)
    assert ask(world, issuer.sign(sub="bob", jti="7")).status_code == 401
    assert ask(world, issuer.sign(sub="bob")).status_code == 200
    assert ask(world, other).status_code == 200


def test_the_subject_of_a_token_is_the_end_user_of_calls_that_name_none(
    make: Make, issuer: Issuer
) -> None:
    """An id of a session alone names nobody, and a key without a token has no subject."""
    world = make_world(make, issuer)
    token = issuer.sign()
    ask(world, token)
    ask(world, token, user='{"session_id": "s1"}')
    ask(world, token, user="bob")
    ask(world, "eng")
    world.close()
    ann, bob = (world.gateway.end_user_hasher.hash_id("default", "eng", name) for name in NAMES)
    assert [row.end_user for row in world.entries()] == [ann, ann, bob, None]


def test_a_claim_that_names_the_end_user_goes_before_what_a_call_says(
    make: Make, issuer: Issuer
) -> None:
    world = make_world(make, issuer, user="person.mail")
    token = issuer.sign(sub="client-7", person={"mail": NAMES[0]})
    ask(world, token)
    ask(world, token, user="bob")
    ask(world, token, x_tiergate_user="bob")
    for person in ({}, {"mail": ""}, {"mail": 7}):
        reply = ask(world, issuer.sign(person=person))
        assert reply.status_code == 403
        assert "no claim 'person.mail', which names the end user" in read_message(reply)
    world.close()
    ann = world.gateway.end_user_hasher.hash_id("default", "eng", NAMES[0])
    assert [row.end_user for row in world.entries()] == [ann] * 3


def test_a_claim_may_lie_within_objects(make: Make, issuer: Issuer) -> None:
    world = make_world(make, issuer, claim="realm_access.roles")
    token = issuer.sign(realm_access={"roles": ["support"]})
    assert ask(world, token, "smart").status_code == 200
    plain = issuer.sign(**{"realm_access.roles": "support"})
    assert ask(world, plain, "smart").status_code == 200


def test_many_wrong_tokens_have_to_wait_and_right_ones_do_not(make: Make, issuer: Issuer) -> None:
    world = make_world(make, issuer)
    statuses = [ask(world, issuer.sign(exp=1_000_000_000)).status_code for _ in range(7)]
    assert statuses == [401] * 5 + [429] * 2
    assert ask(world, issuer.sign()).status_code == 200


def test_an_unknown_key_id_is_looked_up_at_most_once_a_minute(make: Make) -> None:
    """An issuer changes its key: the next token makes the gateway read its keys again."""
    with Issuer() as issuer:
        world = make_world(make, issuer)
        now = [0.0]
        world.app.client_tokens._clock = lambda: now[0]
        world.app.client_tokens._adopt_config()
        assert ask(world, issuer.sign()).status_code == 200
        first_key = issuer.key
        issuer.key = RSAKey.generate_key(2048, {"kid": "second"})
        issuer.publish_keys(first_key, issuer.key)
        read_count = len(issuer.paths)
        assert ask(world, issuer.sign()).status_code == 401
        assert len(issuer.paths) == read_count, "the keys were read less than a minute ago"
        now[0] = 61.0
        assert ask(world, issuer.sign()).status_code == 200
        assert len(issuer.paths) == read_count + 2


def test_the_last_keys_serve_while_the_issuer_is_away(make: Make) -> None:
    with Issuer() as issuer:
        world = make_world(make, issuer)
        now = [0.0]
        world.app.client_tokens._clock = lambda: now[0]
        world.app.client_tokens._adopt_config()
        assert ask(world, issuer.sign()).status_code == 200
        documents, issuer.documents = issuer.documents, {}
        now[0] = 601.0
        assert ask(world, issuer.sign(jti="2")).status_code == 200
        texts = [row["text"] for row in world.log if row["event"] == "tokens"]
        assert len(texts) == 1
        assert str(texts[0]).startswith(f"cannot read the keys of {issuer.url}: ")
        issuer.documents = documents
        now[0] = 662.0
        assert ask(world, issuer.sign(jti="3")).status_code == 200
        assert [row["text"] for row in world.log if row["event"] == "tokens"][1:] == [
            f"reads the keys of {issuer.url} again"
        ]


@pytest.mark.parametrize(
    "documents",
    [
        pytest.param({}, id="no documents"),
        pytest.param({DISCOVERY: {"issuer": "https://evil.example"}}, id="another issuer"),
        pytest.param({DISCOVERY: ["no object"]}, id="a list"),
        pytest.param({"/realm/keys": {"keys": []}}, id="no keys"),
        pytest.param(
            {"/realm/keys": {"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "first"}]}},
            id="a shared secret",
        ),
    ],
)
def test_without_keys_a_client_is_told_to_try_again(
    make: Make, documents: dict[str, object]
) -> None:
    with Issuer() as issuer:
        issuer.documents = {**issuer.documents, **documents} if documents else {}
        world = make_world(make, issuer)
        reply = ask(world, issuer.sign())
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "10")
        assert "cannot read the identity provider's keys" in read_message(reply)


def deny_ann(world: World) -> None:
    """Put a configuration in force that denies the subject of the issuer's tokens."""
    file = world.folder / "gateway.yaml"
    value = jsonio.loads(file.read_bytes())
    value["tokens"][0]["deny"] = ["sub=ann@example.com"]
    file.write_bytes(jsonio.dumps(value))
    world.gateway.swap(build_config(load(file, {}), datetime.now(UTC)))


def test_a_new_configuration_decides_about_tokens_at_once(make: Make, issuer: Issuer) -> None:
    world = make_world(make, issuer)
    token = issuer.sign()
    assert ask(world, token).status_code == 200

    async def swap() -> None:
        deny_ann(world)

    world.loop.run(swap())
    assert ask(world, token).status_code == 401


def test_a_configuration_that_comes_during_a_verification_decides_about_it(
    make: Make, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(make, issuer)
    (verifier,) = world.app.client_tokens._verifiers.values()
    verify = verifier.verify

    async def verify_slowly(token: str) -> dict[str, Any]:
        claims = await verify(token)
        deny_ann(world)
        return claims

    monkeypatch.setattr(verifier, "verify", verify_slowly)
    token = issuer.sign()
    for _ in range(2):
        assert ask(world, token).status_code == 401
