"""Errors of state.

StoreUnavailable   a store, or a connection to it, that does not answer or refuses
"""


class StoreUnavailable(Exception):
    """Redis was not asked, did not answer or refused; the text says why and quotes nothing."""
