"""Programs for those who build and release the gateway; none of them is part of an installation."""
