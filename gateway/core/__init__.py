"""Values and arithmetic only: the vocabulary of all other packages."""
