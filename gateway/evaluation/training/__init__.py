"""Training of the learned classifier, in plain Python: labels in, an artefact with its card out."""
