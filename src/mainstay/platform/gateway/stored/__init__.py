"""Providers and deployments that administrators make, each an organisation's own."""
