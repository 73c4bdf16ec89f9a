"""Half an hour of mixed faults under a steady load, and what is left of it."""
