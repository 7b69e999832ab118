"""Fakes and fixtures that ship, for tests of Mainstay and of what is built on it."""
