"""What can be wrong with a provider: rows U-01 to U-31."""
