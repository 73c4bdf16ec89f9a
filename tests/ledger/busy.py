"""Another process that feeds from a folder of journals, until it has been waited for."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from gateway.ledger.file_lock import try_lock_file
from gateway.ledger.store import FEED_WAIT_SECONDS, LedgerStore

WAITS = 3


class Other:
    """It has the lock of the feed, and stores nothing: who waits for a row has to feed it then."""

    def __init__(self, lock: ExitStack) -> None:
        self.waited: list[float] = []
        """Seconds."""
        self._lock = lock

    def sleep(self, seconds: float) -> None:
        """Wait for it; after the third time it is done. A feed of one's own that rests does not."""
        if 0 < seconds < FEED_WAIT_SECONDS:
            return
        self.waited.append(seconds)
        if len(self.waited) == WAITS:
            self._lock.close()

    def feed(self, store: LedgerStore) -> Callable[[Path], int | None]:
        """How a store feeds, of which each time in vain is a wait for it."""
        feed = store.feed

        def tried(folder: Path) -> int | None:
            told = feed(folder)
            if told is None:
                self.sleep(0)
            return told

        return tried


@contextmanager
def feeding(folder: Path) -> Iterator[Other]:
    """One that feeds from now on."""
    with ExitStack() as lock:
        assert lock.enter_context(try_lock_file(folder / "feed.lock"))
        yield Other(lock)
