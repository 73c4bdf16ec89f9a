"""Run a part of the suite with the oldest and the newest versions that pyproject.toml allows."""
