"""Service tiers that are written in two ways at once."""

from pathlib import Path

import pytest

from tests.settings import world

MISTAKES: list[tuple[str, str]] = [
    ("{flex: {factor: 0.5, input: 1, output: 2}}",
     "flex: flex has a `factor` and `input`, `output`. Write one of the two."),
    ("{flex: {factor: 0.5, above: [{tokens: 1, input: 1, output: 1}]}}",
     "flex: flex has a `factor` and `above`. Write one of the two."),
    ("{flex: {input: 1, output: 2, from: {2026-12-01: 2}}}",
     "flex.from: is of a `factor`, and there is none."),
    ("{flex: {factor: -1}}", "flex.factor: must be at least 0."),
    ("{flex: 0.5}", "flex: must be a mapping."),
    ("{flex: {factr: 0.5}}", "flex.factr: no such key. Did you mean 'factor'?"),
]  # fmt: skip


@pytest.mark.parametrize(("services", "expected"), MISTAKES)
def test_a_service_tier_has_either_a_factor_or_rates(
    tmp_path: Path, services: str, expected: str
) -> None:
    price = f"{{input: 3, output: 4, services: {services}}}"
    text = world.BASE.replace("{input: 3, output: 4}", price)
    mistakes = world.mistakes(tmp_path, text)
    assert mistakes == [f"c.yaml:15: error: models.large.price.services.{expected}"]


def test_a_mistake_in_a_later_price_is_reported(tmp_path: Path) -> None:
    later = "{input: 1, output: 1, services: {flex: {factor: 1, input: 1}}}"
    price = f"{{input: 3, output: 4, from: {{2026-12-01: {later}}}}}"
    text = world.BASE.replace("{input: 3, output: 4}", price)
    (mistake,) = world.mistakes(tmp_path, text)
    at = "models.large.price.from.2026-12-01.services.flex"
    assert (
        mistake == f"c.yaml:15: error: {at}: flex has a `factor` and `input`. Write one of the two."
    )
