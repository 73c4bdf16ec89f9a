"""The steps of one call, from its request to its ledger row, and their parts."""
