"""Values and arithmetic only: what every other room speaks about."""
