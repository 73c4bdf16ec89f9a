"""Calling providers: the door to HTTP, attempts, retries along the plan, local engines."""
