"""What is published: built, unpacked, installed where nothing else is, and started."""
