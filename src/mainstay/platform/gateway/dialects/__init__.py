"""One file for each protocol that providers speak."""
