"""A good body for every route that takes one, naming things of the tenant it is meant for."""

import time
from typing import Any

from tests.contracts.tenants.world import Tenant

SCIM_USER = "urn:ietf:params:scim:schemas:core:2.0:User"
SCIM_GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
SCIM_PATCH = {
    "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
    "Operations": [{"op": "replace", "path": "displayName", "value": "Taken over"}],
}
SCIM_SEARCH = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"], "startIndex": 1}


def bodies(tenant: Tenant) -> dict[str, Any]:
    """Return the bodies by method and address; the ids in them are the tenant's."""
    ids, new = tenant.ids, f"new-{tenant.letter}"
    provider = {"kind": "openai", "base_url": "http://127.0.0.1:9/v1"}
    client = {"issuer": "http://127.0.0.1:9", "client_id": new, "client_secret": new}
    chat = {"model": tenant.canary, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
    root = "/admin/v1"
    organization = "/v1/organization"
    return {
        f"PATCH {root}/organisation": {"name": new},
        f"PATCH {root}/organisations/{{organisation}}": {"name": new},
        f"POST {root}/organisations": {"name": new},
        f"POST {root}/projects": {"name": new},
        f"PATCH {root}/projects/{{project}}": {"name": new},
        f"POST {root}/users": {"email": f"{new}@example.org", "name": new},
        f"PATCH {root}/users/{{user}}": {"name": new},
        f"POST {root}/groups": {"name": new},
        f"PATCH {root}/groups/{{group}}": {"name": new},
        f"POST {root}/groups/{{group}}/members": {"member_ids": [ids["service_account"]]},
        f"POST {root}/service_accounts": {"name": new, "project_id": ids["project"]},
        f"PATCH {root}/service_accounts/{{service_account}}": {"name": new},
        f"POST {root}/keys": {
            "expires_at": int(time.time()) + 86_400,
            "name": new,
            "principal_id": ids["service_account"],
            "project_id": ids["project"],
        },
        f"PATCH {root}/keys/{{key}}": {"name": new},
        f"POST {root}/keys/{{key}}/rotate": {},
        f"POST {root}/my/keys": {"name": new, "project_id": ids["project"]},
        f"POST {root}/my/keys/{{key}}/rotate": {},
        f"POST {root}/roles": {"name": new, "actions": ["projects:read"]},
        f"PATCH {root}/roles/{{role}}": {"name": new},
        f"POST {root}/bindings": {"principal_id": ids["user"], "role_id": "role_analyst"},
        f"PATCH {root}/bindings/{{binding}}": {"expires_at": 4_000_000_000},
        f"POST {root}/projects/{{project}}/bindings": {"principal_id": ids["user"], "role_id": "role_analyst"},
        f"PATCH {root}/projects/{{project}}/bindings/{{binding}}": {"expires_at": 4_000_000_000},
        f"POST {root}/grants": {
            "resource_type": "project",
            "resource_id": ids["project"],
            "principal_id": ids["user"],
            "level": "viewer",
        },
        f"PATCH {root}/grants/{{grant}}": {"level": "editor"},
        f"POST {root}/policies": {
            "scope_type": "user",
            "scope_id": ids["user"],
            "key": "keys.max_lifetime_days",
            "value": 30,
        },
        f"PATCH {root}/policies/{{policy}}": {"value": 31},
        f"POST {root}/limits": {"scope": {"type": "project", "id": ids["project"]}, "requests_per_minute": 5000},
        f"PATCH {root}/limits/{{limit}}": {"requests_per_minute": 6000},
        f"POST {root}/budgets": {"scope": {"type": "project", "id": ids["project"]}, "period": "day", "tokens": 10**9},
        f"PATCH {root}/budgets/{{budget}}": {"tokens": 10**10},
        f"POST {root}/providers": {"name": new} | provider,
        f"PATCH {root}/providers/{{provider}}": {"base_url": "http://127.0.0.1:9/v2"},
        f"POST {root}/deployments": {"name": new, "targets": [{"provider": tenant.canary, "model": "any"}]},
        f"PATCH {root}/deployments/{{deployment}}": {"description": new},
        f"POST {root}/identity_providers": client | {"name": new},
        f"PATCH {root}/identity_providers/{{identity_provider}}": {"name": new},
        f"POST {root}/identity_providers/{{identity_provider}}/identities": {
            "subject": new,
            "user_id": ids["user"],
        },
        f"POST {root}/domains": {"name": f"{new}.example"},
        f"POST {root}/audit/webhooks": {"name": new, "url": "http://127.0.0.1:9/new"},
        f"PATCH {root}/audit/webhooks/{{webhook}}": {"name": new},
        "PUT /auth/password": {"password": "correct horse battery staple"},
        f"POST {organization}/projects": {"name": new + " by OpenAI"},
        f"POST {organization}/projects/{{project}}": {"name": new + " renamed"},
        f"POST {organization}/users/{{user}}": {"role": "owner"},
        f"POST {organization}/admin_api_keys": {"name": new},
        f"POST {organization}/projects/{{project}}/service_accounts": {"name": new},
        f"POST {organization}/projects/{{project}}/service_accounts/{{service_account}}": {"name": new + " renamed"},
        f"POST {organization}/projects/{{project}}/service_accounts/{{service_account}}/api_keys": {
            "name": new,
            "expires_in_seconds": 86_400,
        },
        f"POST {organization}/projects/{{project}}/api_keys/{{key}}": {"expires_in_seconds": 86_400},
        f"POST {organization}/projects/{{project}}/users": {"user_id": ids["user"], "role": "member"},
        f"POST {organization}/projects/{{project}}/users/{{user}}": {"role": "owner"},
        "POST /scim/v2/Users": {"schemas": [SCIM_USER], "userName": f"{new}@scim.example"},
        "PUT /scim/v2/Users/{id}": {"schemas": [SCIM_USER], "userName": f"{new}@scim.example"},
        "PATCH /scim/v2/Users/{id}": SCIM_PATCH,
        "POST /scim/v2/Users/.search": SCIM_SEARCH,
        "POST /scim/v2/Groups": {"schemas": [SCIM_GROUP], "displayName": new, "members": [{"value": ids["user"]}]},
        "PUT /scim/v2/Groups/{id}": {"schemas": [SCIM_GROUP], "displayName": new},
        "PATCH /scim/v2/Groups/{id}": SCIM_PATCH,
        "POST /scim/v2/Groups/.search": SCIM_SEARCH,
        "POST /scim/v2/.search": SCIM_SEARCH,
        "POST /scim/v2/Bulk": {
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],
            "Operations": [{"method": "DELETE", "path": f"/Users/{ids['user']}"}],
        },
        "chat": chat,
    }
