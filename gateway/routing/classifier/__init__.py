"""The difficulty of a prompt: the text to read, the models that score it, and the exemplars."""
