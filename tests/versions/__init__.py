"""A part of the suite, run with the oldest and the newest versions that pyproject.toml allows."""
