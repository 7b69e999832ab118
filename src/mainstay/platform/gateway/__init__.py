"""Deployments and the providers behind them."""

from mainstay.platform.gateway.dialects.azure import AzureModel
from mainstay.platform.gateway.dialects.choose import open_model
from mainstay.platform.gateway.dialects.openai import OpenAIModel
from mainstay.platform.gateway.provider import Provider, ProviderKind, open_pools
from mainstay.platform.gateway.router import LOCAL, Deployment, Router, Table, Target

__all__ = [
    "LOCAL",
    "AzureModel",
    "Deployment",
    "OpenAIModel",
    "Provider",
    "ProviderKind",
    "Router",
    "Table",
    "Target",
    "open_model",
    "open_pools",
]
