"""The semantic cache: answers for questions that mean the same."""
