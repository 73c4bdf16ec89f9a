"""Client keys, their limits and budgets, and load shedding."""
