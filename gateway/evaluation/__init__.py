"""Pure functions that judge a configuration before it serves: on rows, labels and prompts."""
