"""`mainstay admin`: people, permissions, providers and budgets, over the admin API of a running server."""

from mainstay.cli.admin.command import admin

__all__ = ["admin"]
