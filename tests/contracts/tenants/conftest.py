"""One server with two organisations, each with one of everything."""

import json
import sqlite3
import urllib.request
from contextlib import closing

import pytest
from tests.contracts.tenants.asking import Site
from tests.contracts.tenants.issuer import Issuer
from tests.contracts.tenants.routes import read_routes
from tests.contracts.tenants.world import Builder

from mainstay.cli.running import local_key
from mainstay.testing.installation import Installation

CONFIGURATION = """
[outbound]
allowed_networks = ["127.0.0.0/8"]
[[providers]]
name = "installed"
kind = "openai"
base_url = "http://127.0.0.1:9/v1"
[[deployments]]
name = "for-everyone"
targets = [{ provider = "installed", model = "any" }]
"""

BACKGROUND = {"audit_checkpoints", "audit_heads", "audit_webhooks", "idempotency_keys"}
"""Tables that change by themselves."""


@pytest.fixture(scope="module")
def issuer():
    with closing(Issuer()) as issuer:
        yield issuer


@pytest.fixture(scope="module")
def installation():
    with Installation(CONFIGURATION) as installation:
        yield installation


@pytest.fixture(scope="module")
def site(installation):
    with closing(Site(installation.url)) as site:
        yield site


@pytest.fixture(scope="module")
def operator(installation):
    return {"authorization": f"Bearer {local_key(installation.environment())}"}


@pytest.fixture(scope="module")
def builder(installation, site, issuer):
    return Builder(site, local_key(installation.environment()), issuer)


@pytest.fixture(scope="module")
def one(builder):
    return builder.make("a")


@pytest.fixture(scope="module")
def other(builder, one):
    return builder.make("b")


@pytest.fixture(scope="module")
def routes(installation):
    with urllib.request.urlopen(f"{installation.url}/openapi.json", timeout=10) as answer:
        return read_routes(json.loads(answer.read()))


@pytest.fixture(scope="module")
def rows_of(installation):
    """Return every row of an organisation, but for what using a credential changes."""

    def read(organisation_id):
        connection = sqlite3.connect(f"file:{installation.home / 'mainstay.db'}?mode=ro", uri=True)
        try:
            found = {}
            tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            for table in tables:
                columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
                column = "id" if table == "organisations" else "organisation_id"
                if column not in columns or table in BACKGROUND:
                    continue
                kept = [name for name in columns if not name.startswith(("last_", "revision"))]
                if table == "audit_events":  # refusals are written a moment later, between the others
                    kept, column = ["action", "actor_id", "target_id"], "action <> 'access.denied' AND organisation_id"
                rows = connection.execute(
                    f"SELECT {', '.join(kept)} FROM {table} WHERE {column} = ?", (organisation_id,)
                )
                found[table] = sorted(map(repr, rows))
            return found
        finally:
            connection.close()

    return read
