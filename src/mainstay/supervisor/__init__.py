"""The process that stays: it owns the listening socket and the engines, and replaces workers at will."""
