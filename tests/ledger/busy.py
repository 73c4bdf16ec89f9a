"""A second process that feeds a store from a folder of journals while a test waits."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from gateway.ledger.file_lock import try_lock_file
from gateway.ledger.store import FEED_WAIT_SECONDS, LedgerStore

WAITS = 3


class OtherFeeder:
    """Holds the feed lock and stores nothing: a reader that waits for a row must feed it later."""

    def __init__(self, lock: ExitStack) -> None:
        self.waited: list[float] = []
        """Seconds of each wait."""
        self._lock = lock

    def sleep(self, seconds: float) -> None:
        """Count a wait, and free the lock at the third; the feed's own pauses do not count."""
        if 0 < seconds < FEED_WAIT_SECONDS:
            return
        self.waited.append(seconds)
        if len(self.waited) == WAITS:
            self._lock.close()

    def feed(self, store: LedgerStore) -> Callable[[Path], int | None]:
        """Wrap a store's feed: each attempt that finds the lock taken counts as a wait."""
        feed = store.feed

        def tried(folder: Path) -> int | None:
            stored_count = feed(folder)
            if stored_count is None:
                self.sleep(0)
            return stored_count

        return tried


@contextmanager
def feeding(folder: Path) -> Iterator[OtherFeeder]:
    """Yield a process that holds the feed lock from now on."""
    with ExitStack() as lock:
        assert lock.enter_context(try_lock_file(folder / "feed.lock"))
        yield OtherFeeder(lock)
