"""`make bill`: four days of applications, and what they cost; with a reason, the table is written anew."""

import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from tests.applications.bill import table
from tests.applications.bill.day import NAMES, load
from tests.applications.bill.play import bill
from tests.e2e.world import Loop


def main() -> int:
    """Play the days and print them; 1 where they are not as the table has them and no reason was given."""
    why = " ".join(sys.argv[1:]).strip()
    loop, days = Loop(), {}
    for name in NAMES:
        with tempfile.TemporaryDirectory(prefix="bill-") as folder:
            days[name] = bill(loop, Path(folder), load(name))
    loop.close()
    print(table.show(days))
    if why:
        table.write(days, f"{datetime.now(UTC):%Y-%m-%d}: {why}")
        return 0
    known = table.read()
    wrong = [f"{name}: {what}" for name, day in days.items() for what in table.moved(known.get(name), day)]  # fmt: skip
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
