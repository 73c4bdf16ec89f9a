"""The dashboard in a real browser, served by a real gateway with a month of ledger rows."""
