"""Secrets at rest: sealed with a data key of their organisation, which is sealed by a root key in a file of its own."""
