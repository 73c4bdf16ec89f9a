"""A configuration as a running gateway: built, put together, and changed while it runs."""
