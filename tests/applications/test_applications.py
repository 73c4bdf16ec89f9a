"""Applications mixed in every order against one gateway process; the seed of a mix is in the test's name."""

from collections.abc import Iterator

import pytest

from tests.applications.audit import audit
from tests.applications.mixer import mix
from tests.applications.process import Gateway, running
from tests.e2e.conftest import loop
from tests.e2e.world import Loop

__all__ = ["loop"]

SEEDS = (1, 2, 3)


@pytest.fixture(scope="module")
def gateway(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(loop, tmp_path_factory.mktemp("applications")) as made:
        yield made


@pytest.mark.parametrize("seed", SEEDS)
def test_a_mix(gateway: Gateway, seed: int) -> None:
    """Each answer is its own request's, each row agrees with the provider's bill, no secret is shown."""
    applications = mix(gateway, seed)
    wrong = audit(gateway, applications)
    assert not wrong, "\n".join([f"seed {seed}:", *wrong])
