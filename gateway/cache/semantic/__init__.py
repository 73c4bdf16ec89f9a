"""Answers for questions that mean the same."""
