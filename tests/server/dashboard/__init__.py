"""The dashboard's doors: who gets in, and what browsers are told to allow."""
