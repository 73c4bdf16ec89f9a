"""The text of a scrape, to the byte, and as another implementation reads it."""

import math
from typing import Any

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from gateway.telemetry.prometheus_format import make_counter, make_gauge, make_histogram, render

FAMILIES = [
    make_counter("calls", "All calls.", [({"lab": "a", "state": ""}, 3), ({"lab": 'q"\\\n', "state": "x"}, 1)]),
    make_gauge("lag_seconds", "How late\\ it\nis.", [({}, 0.25)]),
    make_gauge("none", "Nothing yet.", []),
    make_histogram("took_seconds", "Time.", (0.5, 2.0), [({"tier": "fast"}, [2, 0, 1, 7.75])]),
]  # fmt: skip

TEXT = r"""# HELP calls_total All calls.
# TYPE calls_total counter
calls_total{lab="a",state=""} 3.0
calls_total{lab="q\"\\\n",state="x"} 1.0
# HELP lag_seconds How late\\ it\nis.
# TYPE lag_seconds gauge
lag_seconds 0.25
# HELP none Nothing yet.
# TYPE none gauge
# HELP took_seconds Time.
# TYPE took_seconds histogram
took_seconds_bucket{tier="fast",le="0.5"} 2.0
took_seconds_bucket{tier="fast",le="2.0"} 2.0
took_seconds_bucket{tier="fast",le="+Inf"} 3.0
took_seconds_sum{tier="fast"} 7.75
took_seconds_count{tier="fast"} 3.0
"""


def test_the_plain_text_format() -> None:
    data, kind = render(FAMILIES, openmetrics=False)
    assert data.decode() == TEXT
    assert kind == "text/plain; version=0.0.4; charset=utf-8"


def test_the_openmetrics_format() -> None:
    """A counter's family is named without its suffix, and the text ends with a mark."""
    data, kind = render(FAMILIES, openmetrics=True)
    heads = TEXT.replace("# HELP calls_total", "# HELP calls")
    assert data.decode() == heads.replace("# TYPE calls_total", "# TYPE calls") + "# EOF\n"
    assert kind == "application/openmetrics-text; version=1.0.0; charset=utf-8"


def read_samples(families: Any) -> list[tuple[str, dict[str, str], float]]:
    return [
        (sample.name, sample.labels, sample.value)
        for family in families
        for sample in family.samples
    ]


def test_the_reference_parsers_read_both_formats_the_same() -> None:
    data = render(FAMILIES, openmetrics=True)[0].decode()
    parse: Any = openmetrics.text_string_to_metric_families
    strict = read_samples(parse(data))
    assert strict == read_samples(text_string_to_metric_families(TEXT))
    assert ("calls_total", {"lab": 'q"\\\n', "state": "x"}, 1.0) in strict
    assert ("took_seconds_bucket", {"tier": "fast", "le": "+Inf"}, 3.0) in strict


def test_infinity_and_nan_have_their_own_words() -> None:
    values = [({"is": "inf"}, math.inf), ({"is": "-inf"}, -math.inf), ({"is": "nan"}, math.nan)]
    lines = render([make_gauge("g", "", values)], openmetrics=False)[0].decode().splitlines()
    assert lines[2:] == ['g{is="inf"} +Inf', 'g{is="-inf"} -Inf', 'g{is="nan"} NaN']
