"""The key of a request: equal for requests that may share an answer, different for all others."""

from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.cache.key import Sharing, describe_target, make_key, make_scope, start_hash
from gateway.core import jsonio
from gateway.core.call import Key
from gateway.core.target import Provider, Target

SECRET = b"s" * 32
TEXTS = ["scope", "dialect", "operation", "target"]

# Few letters and all separators: text that could run together does so within a few examples.
words = st.text(alphabet='ab\x00",[]:é', max_size=3)
headers = st.dictionaries(words, words, max_size=2)
values = st.sampled_from([b"1", b"1.0", b'"a"', b'"b"', b"[]", b"[ ]", b'{"a":1}', b'{"a": 1}'])
members = st.dictionaries(
    st.sampled_from(["model", "messages", "seed", "a", "b", "ab", "stream", "stream_options"]),
    values,
    max_size=4,
)
requests = st.fixed_dictionaries(
    {
        "scope": words,
        "dialect": words,
        "operation": words,
        "target": words,
        "members": members,
        "headers": headers,
    }
)
type Request = dict[str, object]


def keyed(request: Request, secret: bytes = SECRET) -> str:
    parts = request["members"]
    assert isinstance(parts, dict)
    raw = {name: msgspec.Raw(value) for name, value in parts.items()}
    shared = {name: request[name] for name in TEXTS}
    headers: Any = request.get("headers")
    return make_key(start_hash(secret=secret, **shared), raw, headers)  # type: ignore[arg-type]


def meaning(request: Request) -> Request:
    """Return a request without the members that say how its answer is delivered."""
    parts = request["members"]
    assert isinstance(parts, dict)
    delivered = {k: v for k, v in parts.items() if k not in ("stream", "stream_options")}
    return {**request, "members": delivered}


@given(requests, requests)
def test_two_requests_share_a_key_only_if_they_mean_the_same(
    request: Request, other_request: Request
) -> None:
    """SEC-CACHE 2."""
    assert (keyed(request) == keyed(other_request)) == (meaning(request) == meaning(other_request))


@given(requests, st.data())
def test_any_one_change_gives_another_key(request: Request, data: st.DataObject) -> None:
    """SEC-CACHE 2."""
    part = data.draw(st.sampled_from(sorted(request)))
    changed = {**request, part: data.draw(requests)[part]}
    assert (keyed(request) == keyed(changed)) == (meaning(request) == meaning(changed))


@given(requests, st.integers(0, 2), words)
def test_text_that_moves_to_the_next_part_gives_another_key(
    request: Request, at: int, moved: str
) -> None:
    """SEC-CACHE 3: ("ab", "c") is not ("a", "bc")."""
    name, next_name = TEXTS[at], TEXTS[at + 1]
    longer = {**request, name: f"{request[name]}{moved}"}
    other_request = {**request, next_name: f"{moved}{request[next_name]}"}
    assert (keyed(longer) == keyed(other_request)) == (meaning(longer) == meaning(other_request))


@pytest.mark.parametrize(
    ("members", "other_members"),
    [
        ({"a": b"1", "b": b"2"}, {"a": b"1b2"}),
        ({"a": b"1", "b": b"2"}, {"a": b"1" + b"\0\0\0\0\0\0\0\1" + b"b2"}),
        ({"a": b"1", "b": b"2"}, {"a" + "\0\0\0\0\0\0\0\1" + "1b": b"2"}),
        ({"a": b'"x"'}, {'a"': b'x"'}),
        ({"ab": b"1"}, {"a": b"b1"}),
        ({"a": b"1"}, {"": b"a1"}),
        ({}, {"": b""}),
    ],
)
def test_no_name_can_be_confused_with_a_value(
    members: dict[str, bytes], other_members: dict[str, bytes]
) -> None:
    """SEC-CACHE 3."""
    common = {"scope": "s", "dialect": "d", "operation": "o", "target": "t"}
    assert keyed({**common, "members": members}) != keyed({**common, "members": other_members})


def test_no_header_can_be_confused_with_a_member() -> None:
    common = {"scope": "s", "dialect": "d", "operation": "o", "target": "t"}
    member = keyed({**common, "members": {"a": b"1"}, "headers": {}})
    header = keyed({**common, "members": {}, "headers": {"a": "1"}})
    assert member != header
    for request, other_request in (
        ({"ab": "c"}, {"a": "bc"}),
        ({"a": "b", "c": "d"}, {"a": "bcd"}),
    ):
        assert keyed({**common, "members": {}, "headers": request}) != keyed(
            {**common, "members": {}, "headers": other_request}
        )


@given(requests)
def test_a_key_cannot_be_computed_without_the_secret(request: Request) -> None:
    digest = keyed(request)
    assert len(bytes.fromhex(digest)) == 24
    assert keyed(request, b"another") != digest


names = st.builds(Key, name=words, tenant=words)


@given(names, names)
@example(Key(name="b", tenant="a"), Key(name="", tenant="ab"))
@example(Key(name='a","b', tenant="t"), Key(name="a", tenant='t","b'))
def test_law_9_no_client_key_sees_the_answer_of_another_unless_it_is_shared(
    key: Key, other_key: Key
) -> None:
    """SEC-CACHE 1: Law 9: no key sees another key's cached answer unless the config shares them."""

    def shared(sharing: Sharing) -> bool:
        request = {"dialect": "d", "operation": "o", "target": "t", "members": {"a": b"1"}}
        mine, theirs = (make_scope(sharing, owner) for owner in (key, other_key))
        return keyed({**request, "scope": mine}) == keyed({**request, "scope": theirs})

    assert shared("key") == (key == other_key)
    assert shared("tenant") == (key.tenant == other_key.tenant)
    assert shared("all")


def test_each_way_of_sharing_has_its_own_scope() -> None:
    """After a change of the config, a private answer is not found by everybody."""
    scopes = {make_scope(sharing, Key(name="", tenant="")) for sharing in ("key", "tenant", "all")}
    assert len(scopes) == 3


def of(body: bytes) -> str:
    parts = jsonio.read_members(body)
    begun = start_hash(secret=SECRET, scope="s", dialect="d", operation="o", target="t")
    return make_key(begun, parts)


BODY = b'{"model":"auto","messages":[{"role":"user","content":"hi"}],"seed":1}'


@pytest.mark.parametrize(
    "same",
    [
        b'{"seed":1,"messages":[{"role":"user","content":"hi"}],"model":"auto"}',
        b' {\n"model" : "auto" ,\t"messages": [{"role":"user","content":"hi"}],\r\n"seed": 1 } ',
        BODY[:-1] + b',"stream":true}',
        BODY[:-1] + b',"stream":false,"stream_options":{"include_usage":true}}',
        b'{"seed":2,' + BODY[1:],
        b'{"mod\\u0065l":"auto",' + BODY[16:],
    ],
    ids=["order", "white space", "streamed", "whole", "a repeated name", "an escaped name"],
)
def test_order_white_space_and_streaming_do_not_change_the_key(same: bytes) -> None:
    """SEC-CACHE 2."""
    assert of(same) == of(BODY)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"auto", b"smart"),
        (b'"hi"', b'"hi "'),
        (b'"hi"', b'"h\\u0069"'),
        (b'"role":"user","content":"hi"', b'"content":"hi","role":"user"'),
        (b'{"role"', b'{ "role"'),
        (b"1}", b"1.0}"),
        (b"1}", b'"1"}'),
        (b',"seed":1', b""),
        (b"seed", b"Seed"),
        (b"hi", "é".encode()),
        (b"hi", "e\u0301".encode()),
    ],
)
def test_any_byte_inside_a_member_changes_the_key(old: bytes, new: bytes) -> None:
    """SEC-CACHE 2."""
    changed = BODY.replace(old, new)
    assert changed != BODY
    assert of(changed) != of(BODY)


def test_composed_and_decomposed_letters_have_different_keys() -> None:
    """SEC-CACHE 2: NFC and NFD."""
    assert of(BODY.replace(b"hi", "é".encode())) != of(BODY.replace(b"hi", "e\u0301".encode()))


PROVIDER = Provider(name="openai", urls={"openai-chat": "https://api.openai.com/v1/chat"})
TARGET = Target(
    provider=PROVIDER, model="gpt-6-luna", effort="low", max_output=100, params={"a": 1, "b": [2]}
)


@pytest.mark.parametrize(
    "other",
    [
        msgspec.structs.replace(TARGET, model="gpt-6-sol"),
        msgspec.structs.replace(TARGET, effort=None),
        msgspec.structs.replace(TARGET, effort="high"),
        msgspec.structs.replace(TARGET, max_output=None),
        msgspec.structs.replace(TARGET, params={"a": 1, "b": [3]}),
        msgspec.structs.replace(TARGET, params={"a": 1}),
        msgspec.structs.replace(TARGET, provider=msgspec.structs.replace(PROVIDER, name="azure")),
        msgspec.structs.replace(
            TARGET,
            provider=msgspec.structs.replace(PROVIDER, urls={"openai-chat": "http://localhost"}),
        ),
    ],
)
def test_the_description_of_a_target_has_each_of_its_parts(other: Target) -> None:
    assert describe_target(other) != describe_target(TARGET)


def test_the_order_of_params_does_not_change_the_description_of_a_target() -> None:
    assert describe_target(
        msgspec.structs.replace(TARGET, params={"b": [2], "a": 1})
    ) == describe_target(TARGET)
