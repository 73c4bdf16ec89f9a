"""`tiergate train`: trains a classifier, or refits one with an owner's labels."""
