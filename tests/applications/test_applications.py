"""Applications mixed in every order on one gateway process; the test's name has the mix's seed."""

import difflib
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.core.ledger_rows import FinalRow
from gateway.ledger import journal
from tests.applications.audit import audit
from tests.applications.mixer import mix
from tests.applications.process import CONFIG, ROOT, Gateway, copy_config, running
from tests.applications.provider.faults import Fault
from tests.e2e.child import until
from tests.e2e.conftest import loop
from tests.e2e.world import Loop

__all__ = ["loop"]

pytestmark = [
    # google-genai's own class at aiohttp.
    pytest.mark.filterwarnings("ignore:Inheritance class Aiohttp:DeprecationWarning"),
    # Anthropic's SDK warns of old models, which applications still name.
    pytest.mark.filterwarnings("ignore:The model 'claude-:DeprecationWarning"),
]

SEEDS = (1, 4, 6, 8, 22)
"""Together these seeds meet every fault, in streams and in whole answers."""
TENANT_SEEDS = (3, 24)


@pytest.fixture(scope="module")
def gateway(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(loop, tmp_path_factory.mktemp("applications")) as made:
        yield made


@pytest.fixture(scope="module")
def shared(loop: Loop, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:  # fmt: skip
    """A gateway that keeps its state in Redis and serves three tenants."""
    folder = tmp_path_factory.mktemp("tenants")
    with running(loop, folder, tenants=True, REDIS_URL=redis_url) as made:
        yield made


def check(gateway: Gateway, seed: int) -> None:
    mix(gateway, seed)
    wrong = audit(gateway)
    assert not wrong, "\n".join([f"seed {seed}:", *wrong])


@pytest.mark.parametrize("seed", SEEDS)
def test_a_mix(gateway: Gateway, seed: int) -> None:
    """Each answer belongs to its request, each row agrees with the provider's bill, no secret leaks."""
    check(gateway, seed)


@pytest.mark.parametrize("seed", TENANT_SEEDS)
def test_a_mix_of_tenants(shared: Gateway, seed: int) -> None:
    """With Redis and keys all of that holds, and no tenant gets another's answer."""
    check(shared, seed)


def test_all_kinds_of_trouble_were_met(gateway: Gateway) -> None:
    """The mixes above had each fault, and clients that left; otherwise the seeds need a change."""
    if not gateway.applications:
        pytest.skip("no mix ran before")
    met = {(charge.fault, charge.stream) for charge in gateway.provider.charges}
    assert {fault for fault, _ in met} == {*Fault, None}
    assert {(Fault.ERROR_IN_200, True), (Fault.ERROR_IN_200, False)} <= met
    assert any(application.left for application in gateway.applications)
    assert any(charge.tokens and charge.tokens.read for charge in gateway.provider.charges)


def test_the_ledger_after_all(gateway: Gateway) -> None:
    """On disk, the journal has one final row for each call, and the store has the same money."""
    rows = gateway.rows(0)
    gateway.child.signal(signal.SIGTERM)
    until(lambda: gateway.child.ended, "the gateway stops")
    segments = journal.list_segments(gateway.data / "ledger")
    journal_rows = [row for path in segments for row, _ in journal.read_rows(path)]
    finals = [row for row in journal_rows if isinstance(row, FinalRow)]
    assert Counter(row.id for row in finals) == Counter(list(rows))
    with closing(sqlite3.connect(gateway.data / "ledger.db")) as store:
        costs = dict(store.execute("SELECT id, cost FROM costs").fetchall())
    assert costs == {id: row["cost"] for id, row in rows.items()}


def test_only_base_urls_differ_from_what_ships(tmp_path: Path) -> None:
    copy_config(tmp_path / "config", "http://127.0.0.1:1")
    changed = []
    for file in sorted(path for path in CONFIG.rglob("*") if path.is_file()):
        copy = tmp_path / "config" / file.relative_to(CONFIG)
        lines = difflib.ndiff(file.read_text("utf-8").splitlines(), copy.read_text("utf-8").splitlines())  # fmt: skip
        changed += [line[2:].strip() for line in lines if line[0] in "-+"]
    assert {line.partition(" ")[0] for line in changed} == {"base_url:"}


def test_the_provider_imports_nothing_of_the_gateway() -> None:
    """The bill is independent of the gateway that it checks."""
    program = (
        "import sys, tests.applications.provider.provider\n"
        "print([name for name in sys.modules if name.split('.')[0] == 'gateway'])"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)  # fmt: skip
    assert (ran.returncode, ran.stdout) == (0, "[]\n"), ran.stdout + ran.stderr
