"""The command `serve`, its workers and its restarts."""
