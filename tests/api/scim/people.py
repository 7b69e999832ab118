"""Users and groups as directories send them, and what to ask of a server about them."""

from typing import Any

import httpx2

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


def user(user_name: str = "barbara@example.com", **more: Any) -> dict[str, Any]:
    return {"schemas": [USER], "userName": user_name, **more}


def group(name: str = "Engineering", *members: str, **more: Any) -> dict[str, Any]:
    return {"schemas": [GROUP], "displayName": name, "members": [{"value": id_} for id_ in members], **more}


def patch(*operations: dict[str, Any]) -> dict[str, Any]:
    return {"schemas": [PATCH], "Operations": list(operations)}


def made(http: httpx2.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Make a resource, which must succeed."""
    response = http.post(path, json=body)
    assert response.status_code == 201, response.text
    return response.json()


def read(http: httpx2.Client, path: str) -> dict[str, Any]:
    response = http.get(path)
    assert response.status_code == 200, response.text
    return response.json()


def found(http: httpx2.Client, path: str, **query: Any) -> list[dict[str, Any]]:
    response = http.get(path, params=query)
    assert response.status_code == 200, response.text
    return response.json()["Resources"]


def refused(response: httpx2.Response, status: int, scim_type: str | None = None, *, case: object = None) -> str:
    """Check that a response is SCIM's error; return what it says."""
    assert response.status_code == status, (case, response.text)
    assert response.headers["content-type"].startswith("application/scim+json")
    body = response.json()
    assert body["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:Error"]
    assert body["status"] == str(status)
    assert body.get("scimType") == scim_type, (case, body)
    return body["detail"]
