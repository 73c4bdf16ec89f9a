"""The benchmark: what the gateway costs beside nginx, measured in one run."""
