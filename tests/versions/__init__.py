"""Run a part of the suite with each Python, and the oldest and newest server, that are allowed."""
