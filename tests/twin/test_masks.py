"""A mask replaces what it names, and nothing else."""

import pytest

from tests.twin.masks import Masks

NOW = 1_795_000_000.0
AGO = NOW - 3600


def masks() -> Masks:
    made = Masks(since=NOW - 100, clock=lambda: NOW)
    made.begin("7")
    return made


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ('"created":1794999990', '"created":1111111111'),
        ('"at":1794999990.125,"ms":3', '"at":1111111111.5,"ms":0.5'),
        ('"at":1794999990125', '"at":1111111111111'),
        ('"since":"2026-11-18T11:06:30Z"', '"since":"<now>"'),
        ('"duration":0.25,"first_content":null', '"duration":0.5,"first_content":null'),
        ("x-tiergate-hop: 0a1b2c3d", "x-tiergate-hop: <process>"),
        ('tiergate_seconds_bucket{le="1"} 5', 'tiergate_seconds_bucket{le="1"} <measured>'),
        ("tiergate_ledger_query_seconds_total 53.6", "tiergate_ledger_query_seconds_total <measured>"),
        ("It is overloaded. Try again in 4 s.", "It is overloaded. Try again in <1 to 5> s."),
        ("Bearer twin-tree-placeholder", "Bearer twin-side-placeholder"),
        ("resp_tg1a2264c3df2243e2815a3a7", "resp_tg<7.1>"),
    ],
)  # fmt: skip
def test_a_mask_replaces_what_it_names(text: str, masked: str) -> None:
    assert masks().text(text, measured=True) == masked


@pytest.mark.parametrize("text", ['"at":1,"ms":3', '"duration":0.25'])
def test_durations_of_clients_and_providers_are_compared(text: str) -> None:
    assert masks().text(text) == text


@pytest.mark.parametrize(
    "text",
    [
        f'"created":{AGO:.0f}',
        '"created":1700000000',
        '"total":17949999901',
        "x1794999990",
        '"since":"2026-11-01T00:00:00Z"',
        '"durations":0.25',
        "x-tiergate-hop: nonsense",
        "retry-after: 17",
        "Try again in 30 s.",
        'tiergate_seconds_count{lab="a"} 5',
        "gpt-tg-1a2264c3df2243e2815a3a",
        "model-1a2264c3df2243e2815a3a7",
    ],
)
def test_a_mask_leaves_what_it_does_not_name(text: str) -> None:
    assert masks().text(text, measured=True) == text


def test_a_masked_id_identifies_its_call() -> None:
    first, second = "tg-1a2264c3df2243e2815a3a7", "tg-1a2264c3f5a6c362d3f61c3"
    made = masks()
    assert made.text(f"{first} {second} {first}") == "tg-<7.1> tg-<7.2> tg-<7.1>"
    made.begin("8")
    assert made.text(f"{second} tg-{'0' * 23}") == "tg-<7.2> tg-<8.1>"


def test_columns_of_csv_are_masked_by_their_names() -> None:
    data = b'id,cost,duration,text\nx,0.25,0.123,"a, ""b"""\ny,0.5,,c\n'
    assert masks().table(data) == 'id,cost,duration,text\nx,0.25,0.5,"a, ""b"""\ny,0.5,,c\n'
