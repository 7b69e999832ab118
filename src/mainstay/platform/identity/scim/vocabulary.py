"""The attributes of users and groups, and how filters and paths that name them are read.

Schemas and grammar are scim2-models' (0.12). Importing it takes half a second, so it is done when the first SCIM
request comes, in a thread.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mainstay.kit.errors import MainstayError
from mainstay.platform.identity.scim.errors import InvalidFilterError, InvalidPathError

if TYPE_CHECKING:
    from scim2_models.path import AttrPath, FilterNode, PathNode

Json = dict[str, Any]  # a JSON object, as its schema says

USER_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:Group"
ENTERPRISE_SCHEMA = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
_EXPRESSION_LENGTH_MAX = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """One attribute, as its schema describes it. `children` are by lower-case name."""

    name: str
    type: str
    is_multi_valued: bool = False
    is_case_exact: bool = False
    is_read_only: bool = False
    is_required: bool = False
    is_always_returned: bool = False
    children: "Mapping[str, Attribute]"


@dataclass(frozen=True, slots=True)
class Place:
    """What a path names: an attribute, of the core schema or of an extension, or one attribute inside it.

    Both are None for an extension as a whole.
    """

    extension: str | None
    attribute: Attribute | None
    child: Attribute | None = None


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of resource. `extensions` are by lower-case URN, each with its name and its attributes."""

    name: str
    endpoint: str
    schema: str
    attributes: Mapping[str, Attribute]
    extensions: Mapping[str, tuple[str, Mapping[str, Attribute]]]

    def find(self, path: "AttrPath") -> Place | None:
        """Return what `path` names, or None if there is no such attribute. Names match in any case."""
        extension, attributes = None, self.attributes
        if path.uri is not None and path.uri.lower() != self.schema.lower():
            named = self.extensions.get(path.uri.lower())
            if named is None:
                whole = self.extensions.get(f"{path.uri}:{path.attr}".lower())
                return None if whole is None or path.sub_attr else Place(whole[0], None)
            extension, attributes = named
        attribute = attributes.get(path.attr.lower())
        if attribute is None:
            return None
        if path.sub_attr is None:
            return Place(extension, attribute)
        child = attribute.children.get(path.sub_attr.lower())
        return None if child is None else Place(extension, attribute, child)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """All kinds of resources, and the documents that tell clients of them."""

    user: Kind
    group: Kind
    schemas: tuple[Json, ...]
    resource_types: tuple[Json, ...]


class Vocabularies:
    """Makes the vocabulary when it is first asked for."""

    def __init__(self) -> None:
        self._made: list[Vocabulary] = []
        self._making = asyncio.Lock()

    async def get(self) -> Vocabulary:
        """Return it; the first call takes half a second, and holds nobody else up."""
        if self._made:
            return self._made[0]
        async with self._making:
            if not self._made:
                self._made.append(await asyncio.to_thread(make_vocabulary))
        return self._made[0]


def parse_filter(text: str) -> "FilterNode":
    """Read a filter (RFC 7644, 3.4.2.2). Raises InvalidFilterError."""
    from scim2_models import InvalidFilterException, ScimFilter

    _check_length(text, InvalidFilterError, "filter")
    try:
        return ScimFilter(text).ast
    except InvalidFilterException as error:
        raise InvalidFilterError(f"The filter cannot be read: {error.detail}.", param="filter") from None


def parse_path(text: str) -> "PathNode":
    """Read the path of a PATCH operation (RFC 7644, 3.5.2). Raises InvalidPathError."""
    from scim2_models import InvalidPathException, Path

    _check_length(text, InvalidPathError, "path")
    try:
        node = Path(text).ast
    except InvalidPathException as error:
        raise InvalidPathError(f"The path {text[:200]!r} cannot be read: {error.detail}.", param="path") from None
    if node is None:
        raise InvalidPathError("The path is empty; leave it out to address the whole resource.", param="path")
    return node


def _check_length(text: str, error: type[MainstayError], what: str) -> None:
    if len(text) > _EXPRESSION_LENGTH_MAX:
        raise error(f"The {what} has {len(text)} characters; {_EXPRESSION_LENGTH_MAX} are possible.", param=what)


def make_vocabulary() -> Vocabulary:
    """Read the schemas. Takes half a second the first time in a process."""
    from scim2_models import EnterpriseUser, Group, ResourceType, Schema, ServiceProviderConfig, User

    own = [_document(model.to_schema()) for model in (User, Group, EnterpriseUser)]
    user, group, enterprise = own
    # Passwords are not taken from directories; a member's name is found where its `$ref` leads (RFC 7643, 8.7.1).
    user["attributes"] = [one for one in user["attributes"] if one["name"] != "password"]
    for attribute in group["attributes"]:
        if attribute["name"] == "members":
            attribute["subAttributes"] = [one for one in attribute["subAttributes"] if one["name"] != "display"]
    about = [_document(model.to_schema()) for model in (ResourceType, Schema, ServiceProviderConfig)]
    extensions = {ENTERPRISE_SCHEMA.lower(): (ENTERPRISE_SCHEMA, _attributes(enterprise["attributes"]))}
    return Vocabulary(
        user=Kind("User", "/Users", USER_SCHEMA, _shared() | _attributes(user["attributes"]), extensions),
        group=Kind("Group", "/Groups", GROUP_SCHEMA, _shared() | _attributes(group["attributes"]), {}),
        schemas=(*own, *about),
        resource_types=(
            _resource_type("User", "/Users", USER_SCHEMA, [{"schema": ENTERPRISE_SCHEMA, "required": False}]),
            _resource_type("Group", "/Groups", GROUP_SCHEMA, []),
        ),
    )


def _document(schema: Any) -> Json:  # a scim2_models.Schema
    document: Json = schema.model_dump()
    document["meta"] = {"resourceType": "Schema", "location": f"/Schemas/{document['id']}"}
    return document


def _resource_type(name: str, endpoint: str, schema: str, extensions: list[Json]) -> Json:
    return {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
        "id": name,
        "name": name,
        "endpoint": endpoint,
        "description": f"{name}s of the organisation",
        "schema": schema,
        "schemaExtensions": extensions,
        "meta": {"resourceType": "ResourceType", "location": f"/ResourceTypes/{name}"},
    }


def _attributes(documents: list[Json]) -> dict[str, Attribute]:
    return {
        one["name"].lower(): Attribute(
            name=one["name"],
            type=one["type"],
            is_multi_valued=one["multiValued"],
            is_case_exact=one.get("caseExact", False),
            is_read_only=one["mutability"] == "readOnly",
            is_required=one["required"],
            children=_attributes(one.get("subAttributes", [])),
        )
        for one in documents
    }


def _shared() -> dict[str, Attribute]:
    """What every resource has (RFC 7643, 3.1)."""
    return {
        "schemas": _one("schemas", is_multi_valued=True, is_always_returned=True),
        "id": _one("id", is_always_returned=True),
        "externalid": _one("externalId", is_read_only=False),
        "meta": _one(
            "meta",
            "complex",
            children={
                "resourcetype": _one("resourceType"),
                "created": _one("created", "dateTime"),
                "lastmodified": _one("lastModified", "dateTime"),
                "location": _one("location", "reference"),
                "version": _one("version"),
            },
        ),
    }


def _one(
    name: str,
    type: str = "string",
    *,
    is_multi_valued: bool = False,
    is_read_only: bool = True,
    is_always_returned: bool = False,
    children: Mapping[str, Attribute] | None = None,
) -> Attribute:
    return Attribute(
        name=name,
        type=type,
        is_multi_valued=is_multi_valued,
        is_case_exact=True,
        is_read_only=is_read_only,
        is_always_returned=is_always_returned,
        children=children or {},
    )
