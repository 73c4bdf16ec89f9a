"""Sinks: engines beside the store that get each row of the journals at least once."""
