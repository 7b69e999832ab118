"""`GET /admin/v1/usage`: what was used, by whom, of what, when."""

import time

import msgspec

from mainstay.api.exchange import Exchange
from mainstay.kit.errors import InvalidRequestError
