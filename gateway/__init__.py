"""tiergate: a model-routing API gateway over the fast, smart and reasoning tiers of real providers."""
