"""Logs, metrics and traces of the gateway, for its operators."""
