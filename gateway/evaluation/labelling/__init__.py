"""Labels of own traffic: a sample of prompts, and comparisons of the answers of tiers."""
