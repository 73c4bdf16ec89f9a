"""Whole gateways on one event loop with a virtual clock: thousands of calls and faults by seed."""
