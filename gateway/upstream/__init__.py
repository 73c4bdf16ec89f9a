"""Calling providers: the HTTP client, attempts, retries along the plan, local engines."""
