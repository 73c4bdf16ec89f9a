"""The choice among equals: targets of a group, and accounts or replicas of a provider."""
