"""The text formats of Prometheus and OpenMetrics, with the same figures in both."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

TEXT_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})


class MetricSample(NamedTuple):
    """One line of a family: the suffix of its name, its labels and its value."""

    suffix: str
    labels: Mapping[str, str]
    value: float


class MetricFamily(NamedTuple):
    """All lines under one name, which has no suffix."""

    name: str
    type: Literal["counter", "gauge", "histogram"]
    help: str
    samples: Sequence[MetricSample]


def make_counter(
    name: str, text: str, samples: Iterable[tuple[Mapping[str, str], float]]
) -> MetricFamily:
    """Make a counter, a number that only grows."""
    return MetricFamily(
        name, "counter", text, [MetricSample("_total", *sample) for sample in samples]
    )


def make_gauge(
    name: str, text: str, samples: Iterable[tuple[Mapping[str, str], float]]
) -> MetricFamily:
    """Make a gauge, a current value."""
    return MetricFamily(name, "gauge", text, [MetricSample("", *sample) for sample in samples])


def make_histogram(
    name: str,
    text: str,
    bounds: Sequence[float],
    cells: Iterable[tuple[Mapping[str, str], Sequence[float]]],
) -> MetricFamily:
    """Make a histogram: how many values are at most as large as each bound.

    A cell has the count of each bucket alone, then the count of larger values, then the sum.
    """
    samples: list[MetricSample] = []
    for labels, (*counts, total) in cells:
        cumulative_count = 0.0
        for bound, count in zip((*bounds, math.inf), counts, strict=True):
            cumulative_count += count
            samples.append(
                MetricSample("_bucket", {**labels, "le": _format_number(bound)}, cumulative_count)
            )
        samples += (
            MetricSample("_sum", labels, total),
            MetricSample("_count", labels, cumulative_count),
        )
    return MetricFamily(name, "histogram", text, samples)


def render(families: Iterable[MetricFamily], *, openmetrics: bool) -> tuple[bytes, str]:
    """Return the text and its content type."""
    lines = [
        line for family in families for line in _format_family(family, openmetrics=openmetrics)
    ]
    if openmetrics:
        lines.append("# EOF")
    return "\n".join(
        [*lines, ""]
    ).encode(), OPENMETRICS_CONTENT_TYPE if openmetrics else TEXT_CONTENT_TYPE


def _format_family(family: MetricFamily, *, openmetrics: bool) -> Iterator[str]:
    name = family.name
    family_name = name if openmetrics or family.type != "counter" else f"{name}_total"
    text = family.help.translate(_ESCAPES if openmetrics else _HELP_ESCAPES)
    yield f"# HELP {family_name} {text}"
    yield f"# TYPE {family_name} {family.type}"
    for suffix, labels, value in family.samples:
        label_text = ",".join(f'{key}="{text.translate(_ESCAPES)}"' for key, text in labels.items())
        yield (
            f"{name}{suffix}{{{label_text}}} {_format_number(value)}"
            if label_text
            else (f"{name}{suffix} {_format_number(value)}")
        )


def _format_number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(float(value))
