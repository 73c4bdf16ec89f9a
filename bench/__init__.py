"""The benchmark: the gateway's cost beside nginx, measured in one run."""
