"""Four scripted days of applications at the prices that ship, and what they cost."""
