"""Training of the learned classifier, in plain Python: labels in, an artefact and its card out."""
