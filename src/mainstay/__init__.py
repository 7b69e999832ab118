"""Mainstay: an organisation's own AI service."""

__version__ = "0.1.0"
