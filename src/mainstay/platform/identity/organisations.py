"""Organisations and their projects: every row of every table belongs to one of each."""

from dataclasses import dataclass

DEFAULT_ORGANISATION_ID = "org_default"
DEFAULT_PROJECT_ID = "proj_default"


@dataclass(frozen=True, slots=True)
class Tenant:
    """A project of an organisation, as a place where rows belong."""

    organisation_id: str
    project_id: str


DEFAULT_TENANT = Tenant(DEFAULT_ORGANISATION_ID, DEFAULT_PROJECT_ID)
"""The one that the first migration creates."""
