"""Build a configuration into a running gateway, and change the configuration while it runs."""
