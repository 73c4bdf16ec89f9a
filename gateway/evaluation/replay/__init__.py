"""Calls of the ledger, decided again: what another configuration would have done with them."""
