"""Spending and remaining budgets of a key, for its owner."""
