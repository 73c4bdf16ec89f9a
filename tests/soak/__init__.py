"""Run half an hour of mixed faults under a steady load, and check the result."""
