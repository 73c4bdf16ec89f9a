"""REDIS_URL: what each form means, and errors that quote nothing of a wrong URL."""

import ssl
from pathlib import Path

import pytest

from gateway.state.redis.url import RedisAddress, make_ssl_context, parse_url


@pytest.mark.parametrize(
    ("url", "kind", "hosts", "where"),
    [
        ("redis://h", "single", (("h", 6379),), "h:6379"),
        ("redis://h:1/2", "single", (("h", 1),), "h:1"),
        ("redis:///0", "single", (("localhost", 6379),), "localhost:6379"),
        ("redis://[::1]:7/0", "single", (("::1", 7),), "::1:7"),
        ("unix:///run/redis.sock", "single", (), "/run/redis.sock"),
        (
            "redis+sentinel://a,b:1,[::1]:2/main/3",
            "sentinel",
            (("a", 26379), ("b", 1), ("::1", 2)),
            "a:26379,b:1,::1:2/main",
        ),
        ("rediss+cluster://a:1,b", "cluster", (("a", 1), ("b", 6379)), "a:1,b:6379"),
    ],
)
def test_each_form_of_url_names_its_hosts(
    url: str, kind: str, hosts: tuple[tuple[str, int], ...], where: str
) -> None:
    address = parse_url(url)
    assert (address.kind, address.hosts, address.location) == (kind, hosts, where)
    assert address.tls is url.startswith("rediss")


@pytest.mark.parametrize(
    ("url", "db"),
    [
        ("redis://h/2", 2),
        ("redis://h?db=4", 4),
        ("redis://h/2?db=4", 4),
        ("unix:///s?db=5", 5),
        ("unix:///s/1", 0),
        ("redis+sentinel://h/main/6", 6),
        ("redis+sentinel://h/main", 0),
        ("redis+cluster://h/0", 0),
    ],
)
def test_the_url_names_the_database(url: str, db: int) -> None:
    assert parse_url(url).db == db


def test_sentinels_have_their_own_credentials() -> None:
    url = "redis+sentinel://us%3Aer:p%40ss@h/main?sentinel_username=s&sentinel_password=q%26"
    address = parse_url(url)
    assert (address.username, address.password) == ("us:er", "p@ss")
    assert address.sentinel_login == ("s", "q&")
    assert "p@ss" not in address.location
    assert address.options == {}


@pytest.mark.parametrize(
    "url",
    [
        "redis+other://hunter2",
        "unix+cluster://hunter2",
        "http+cluster://hunter2",
        "redis+sentinel://hunter2",
        "redis+sentinel://hunter2/main/db",
        "redis+sentinel://hunter2/main/0/more",
        "redis+cluster://hunter2/1",
        "redis+cluster://hunter2:many",
        "redis://hunter2/0/1",
        "redis://hunter2/-1",
        "redis://a,hunter2",
        "unix://",
    ],
)
def test_the_error_of_a_wrong_url_does_not_quote_it(url: str) -> None:
    with pytest.raises(ValueError, match=r"^REDIS_URL ") as refused:
        parse_url(url)
    assert "hunter2" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_the_options_of_a_url_set_the_tls_context(tmp_path: Path) -> None:
    assert make_ssl_context(parse_url("redis://h")) is None
    strict = make_ssl_context(parse_url("rediss://h"))
    assert strict is not None
    assert (strict.check_hostname, strict.verify_mode) == (True, ssl.CERT_REQUIRED)
    lax = make_ssl_context(parse_url("rediss://h?ssl_check_hostname=false"))
    assert lax is not None
    assert (lax.check_hostname, lax.verify_mode) == (False, ssl.CERT_REQUIRED)
    for url in ("rediss://h", "rediss://h?ssl_cert_reqs=none", "rediss://h?ssl_cert_reqs=required"):
        none = make_ssl_context(parse_url(url, verify=False))
        assert none is not None
        assert (none.check_hostname, none.verify_mode) == (False, ssl.CERT_NONE)
    for name in ("ssl_ca_certs", "ssl_certfile"):
        wrong: RedisAddress = parse_url(f"rediss://h?{name}={tmp_path}/hunter2")
        with pytest.raises(ValueError, match=r"^REDIS_URL names certificates") as refused:
            make_ssl_context(wrong)
        assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("wish", ["none", "optional", "NONE", "CERT_NONE", ""])
def test_a_url_cannot_turn_the_certificate_check_off(wish: str) -> None:
    """An operator who copied such a URL gets an error that names the setting to use."""
    with pytest.raises(ValueError, match=r"^REDIS_URL turns off .* redis\.verify to false$"):
        parse_url(f"rediss://:hunter2@h?ssl_cert_reqs={wish}")
    context = make_ssl_context(parse_url("rediss://h?ssl_cert_reqs=required"))
    assert context is not None
    assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)
