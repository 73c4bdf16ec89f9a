"""Errors of state.

StoreUnavailable   a store, or a connection to it, does not answer or refuses
"""


class StoreUnavailable(Exception):
    """Raised if Redis was not asked, did not answer or refused. The reason quotes nothing."""
