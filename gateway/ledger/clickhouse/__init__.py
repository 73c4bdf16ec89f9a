"""The ledger's rows of many gateways in ClickHouse: its tables, and queries to them."""
