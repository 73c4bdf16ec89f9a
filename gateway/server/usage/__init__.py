"""What a key has spent and what is left of its budgets, for its owner."""
