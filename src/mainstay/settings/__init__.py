"""The settings: read once from mainstay.toml and the environment, checked as a whole, with a line for every problem."""

from mainstay.settings.loading import Settings, find_home, with_default_deployments
from mainstay.settings.problems import Problem, SettingsError
from mainstay.settings.tree import (
    LOCAL,
    Database,
    Deployment,
    Limit,
    Logging,
    Models,
    Outbound,
    Prices,
    Provider,
    ProviderTimeouts,
    Server,
    SignIn,
    Target,
)

__all__ = [
    "LOCAL",
    "Database",
    "Deployment",
    "Limit",
    "Logging",
    "Models",
    "Outbound",
    "Prices",
    "Problem",
    "Provider",
    "ProviderTimeouts",
    "Server",
    "Settings",
    "SettingsError",
    "SignIn",
    "Target",
    "find_home",
    "with_default_deployments",
]
