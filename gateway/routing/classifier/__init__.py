"""How hard a prompt is: the text it reads, the models that score it, and the exemplars."""
