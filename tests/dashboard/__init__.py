"""The dashboard in a real browser, before a real gateway with a ledger of a month."""
