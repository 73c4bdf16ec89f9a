"""`make bill`: play four days of applications and print their cost; with a reason, write the table anew."""

import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from tests.applications.bill import table
from tests.applications.bill.day import NAMES
from tests.applications.bill.play import QUALITIES, play_days
from tests.e2e.world import Loop


def main() -> int:
    """Play the days and print them; return 1 if they differ from the table and no reason was given."""
    why = " ".join(sys.argv[1:]).strip()
    loop, sums = Loop(), {}
    for quality in QUALITIES:
        with tempfile.TemporaryDirectory(prefix="bill-") as folder:
            sums[quality] = play_days(loop, Path(folder), quality)
    loop.close()
    days = {name: {quality: sums[quality][name] for quality in QUALITIES} for name in NAMES}
    print(table.show(days))
    if why:
        table.write(days, f"{datetime.now(UTC):%Y-%m-%d}: {why}")
        return 0
    figures = table.read()
    changes = [f"{name}: {change}" for name, day in days.items() for change in table.moved(figures.get(name), day)]  # fmt: skip
    print("\n".join(changes))
    return 1 if changes else 0


if __name__ == "__main__":
    sys.exit(main())
