"""Signing in and out, and what people see of their own sessions: `/auth`."""
