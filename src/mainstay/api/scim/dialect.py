"""How SCIM clients expect errors (RFC 7644, 3.12)."""

from collections.abc import Mapping

import msgspec

from mainstay.api.dialects import Dialect, Header
from mainstay.kit.errors import MainstayError
from mainstay.platform.identity.scim.errors import SCIM_TYPES

CONTENT_TYPE: Header = (b"content-type", b"application/scim+json; charset=utf-8")
ERROR_SCHEMA = "urn:ietf:params:scim:api:messages:2.0:Error"


class ScimDialect(Dialect):
    """SCIM: an error is a message with its status as a text."""

    name = "scim"
    content_type = CONTENT_TYPE

    def headers(self, request_id: str, request: Mapping[bytes, bytes], began: float) -> list[Header]:
        """Headers of every response."""
        del request, began
        return [(b"x-request-id", request_id.encode()), (b"cache-control", b"no-store")]

    def error_body(self, error: MainstayError) -> bytes:
        """The JSON text of an error."""
        return msgspec.json.encode(error_document(error))

    def error_headers(self, error: MainstayError) -> list[Header]:
        """What a client must know to go on."""
        headers = super().error_headers(error)
        return [*headers, (b"www-authenticate", b'Bearer realm="SCIM"')] if error.status == 401 else headers


def error_document(error: MainstayError) -> dict[str, object]:
    """Return an error as a SCIM message."""
    document: dict[str, object] = {"schemas": [ERROR_SCHEMA], "status": str(error.status), "detail": error.told}
    return document | ({"scimType": error.code} if error.code in SCIM_TYPES else {})
