"""Errors of state.

StoreUnavailable   a store, or a connection to it, does not answer or refuses
ObjectStoreError   the database of owned objects cannot be opened, read or written
"""


def describe_newer(place: str) -> str:
    """Return why an older version leaves data alone, and what to do. `place` shows no password."""
    return (
        f"{place} was made by a newer version of tiergate: update this one, or restore the data of"
        " before the update"
    )


class StoreUnavailable(Exception):
    """Raised if Redis was not asked, did not answer or refused. The reason quotes nothing."""


class ObjectStoreError(Exception):
    """An error of the database of owned objects. Its text never shows a password."""
