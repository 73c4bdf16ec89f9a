"""Test the URL of a ClickHouse database: its parts, its password, and what no error shows."""

import sys

import pytest

from gateway.ledger.clickhouse.connection import ClickHouseAddress, parse_url
from gateway.ledger.errors import SinkError, StoreError
from gateway.ledger.sinks.open_sink import open_sink
from gateway.ledger.store import open_reader

BARE = "clickhouse://host"


def test_a_url_names_host_port_database_user_and_password() -> None:
    url = "clickhouse://a%40b:c%2Fd%3F@[::1]:9443/le%64ger?ca_cert=/etc/ca.pem"
    address = parse_url(url, {"CLICKHOUSE_PASSWORD": "other"})
    assert address == ClickHouseAddress(
        host="::1", port=9443, database="ledger", user="a@b", password="c/d?", secure=True,
        ca_cert="/etc/ca.pem",
    )  # fmt: skip
    assert "c/d?" not in repr(address)


@pytest.mark.parametrize(
    ("url", "port", "secure"),
    [
        (BARE, 8443, True),
        (f"{BARE}:8443", 8443, True),
        (f"{BARE}:8123", 8123, False),
        (f"{BARE}:9000", 9000, True),
        (f"{BARE}:9000?secure=false", 9000, False),
        (f"{BARE}?secure=false", 8123, False),
        (f"{BARE}:8123/?secure=true", 8123, True),
    ],
)
def test_a_connection_uses_tls_unless_the_port_or_the_url_says_otherwise(
    url: str, port: int, secure: bool
) -> None:
    address = parse_url(url, {"CLICKHOUSE_PASSWORD": "s3cret"})
    assert (address.port, address.secure) == (port, secure)
    assert (address.user, address.password, address.database) == ("default", "s3cret", "default")


@pytest.mark.parametrize(
    "url",
    [
        "http://host",
        "clickhouse:///db",
        "clickhouse://u:pa55/w@host/db",
        "clickhouse://u:pa55#w@host/db",
        "clickhouse://u:pa55?w@host/db",
        "clickhouse://host/db/pa55",
        "clickhouse://host/db@pa55",
        "clickhouse://host:pa55/db",
        "clickhouse://host/db?password=pa55",
        "clickhouse://host/db?secure=pa55",
        "clickhouse://host/db#pa55",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(StoreError, match="cannot be read: it is written clickhouse://") as refusal:
        parse_url(url, {})
    assert "pa55" not in str(refusal.value)
    if url.startswith("clickhouse:"):
        with pytest.raises(SinkError, match="cannot be read"):
            open_sink("warehouse", url)


@pytest.mark.parametrize("login", ["", "u:pa55@"])
def test_a_server_that_does_not_answer_is_told_in_one_line(
    login: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_reader(f"clickhouse://{login}127.0.0.1:1/db")
    with pytest.raises(StoreError) as refusal:
        store.sum_costs()
    address, _, reason = str(refusal.value).partition(": ")
    assert address == "ClickHouse at 127.0.0.1:1"
    assert "Connection refused" in reason
    assert "pa55" not in reason
    assert "\n" not in reason
    assert caplog.records == []


def test_a_missing_driver_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if "clickhouse" in name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "clickhouse_connect", None)
    with pytest.raises(SinkError, match=r"pip install 'tiergate\[clickhouse\]'"):
        open_sink("warehouse", BARE)
    with pytest.raises(StoreError, match=r"pip install 'tiergate\[clickhouse\]'"):
        open_reader(BARE)
