"""What a SCIM client may ask before anything else: what is supported, which resources there are, what they hold."""

from mainstay.kit.errors import NotFoundError, PermissionDeniedError
from mainstay.platform.identity.scim.queries import COUNT_MAX
from mainstay.platform.identity.scim.vocabulary import Json, Vocabulary

LIST_SCHEMA = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
BULK_OPERATIONS_MAX = 1000
BULK_BYTES_MAX = 8 * 1024 * 1024


def provider_config(address: str) -> Json:
    """Return what this service can do (RFC 7643, 5)."""
    return {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
        "patch": {"supported": True},
        "bulk": {"supported": True, "maxOperations": BULK_OPERATIONS_MAX, "maxPayloadSize": BULK_BYTES_MAX},
        "filter": {"supported": True, "maxResults": COUNT_MAX},
        "changePassword": {"supported": False},
        "sort": {"supported": True},
        "etag": {"supported": True},
        "authenticationSchemes": [
            {
                "type": "oauthbearertoken",
                "name": "Bearer token",
                "description": "An API key with the scope 'scim', as 'Authorization: Bearer KEY'.",
                "primary": True,
            }
        ],
        "meta": {"resourceType": "ServiceProviderConfig", "location": f"{address}/ServiceProviderConfig"},
    }


def schemas(vocabulary: Vocabulary, address: str) -> list[Json]:
    """Return every schema."""
    return [_located(one, address) for one in vocabulary.schemas]


def resource_types(vocabulary: Vocabulary, address: str) -> list[Json]:
    """Return every type of resource."""
    return [_located(one, address) for one in vocabulary.resource_types]


def one_of(documents: list[Json], id: str) -> Json:
    """Return the document with this id, whatever its case. Raises NotFoundError."""
    for document in documents:
        if str(document["id"]).lower() == id.lower():
            return document
    raise NotFoundError(f"There is no '{id[:100]}' here.")


def list_of(documents: list[Json], *, total: int | None = None, start_index: int = 1) -> Json:
    """Return documents in SCIM's envelope for lists."""
    return {
        "schemas": [LIST_SCHEMA],
        "totalResults": len(documents) if total is None else total,
        "startIndex": start_index,
        "itemsPerPage": len(documents),
        "Resources": documents,
    }


def require_no_filter(asked: dict[str, str]) -> None:
    """Raise PermissionDeniedError for a filter, as RFC 7644, 4, wants it."""
    if "filter" in asked:
        raise PermissionDeniedError("These lists are short and take no filter.")


def _located(document: Json, address: str) -> Json:
    meta = document["meta"]
    return document | {"meta": meta | {"location": address + meta["location"]}}
