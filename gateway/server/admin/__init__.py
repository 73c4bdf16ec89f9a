"""The endpoints under /admin."""
