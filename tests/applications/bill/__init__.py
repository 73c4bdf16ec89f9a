"""Four scripted days of applications at the shipped prices, and their cost."""
