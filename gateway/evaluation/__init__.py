"""Pure functions over entries, labels and prompts: what a configuration does, before it does it."""
