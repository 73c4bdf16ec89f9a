"""The command `label`: labels of own traffic."""
