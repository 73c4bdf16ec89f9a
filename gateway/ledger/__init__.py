"""The ledger: a record of every call and its cost, written as it happens, kept, and added up."""
