"""HTTP: what clients reach."""
