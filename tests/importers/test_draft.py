"""The configuration accepts every time span that an import writes."""

import pytest

from gateway.importers.draft import format_duration
from gateway.settings.schema import base


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (30.0, "30s"),
        (600, "600s"),
        (0.5, "0.5s"),
        (2_592_000, "2592000s"),
        (1e-271, "0.001s"),
        (0, "0s"),
    ],
)
def test_an_imported_duration_has_no_exponent(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
    assert base.parse_duration(text) == pytest.approx(max(seconds, 0.001) if seconds else 0)
