"""One call from its request to its ledger row, and what each step needs."""
