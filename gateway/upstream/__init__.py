"""Calling providers: the door to HTTP, one attempt, retries along the plan, and bytes on their way back."""
