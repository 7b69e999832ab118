"""What directories send, made into documents: known attributes under their own names, with values of their types.

A document is a JSON object: attributes of the core schema, and one object for each extension under its URN. What is
empty is left out (RFC 7643, 2.5), what is unknown or for reading only is ignored (RFC 7644, 3.3), and a value of the
wrong type is refused.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from mainstay.platform.identity.names import is_printable
from mainstay.platform.identity.scim.errors import InvalidSyntaxError, InvalidValueError
from mainstay.platform.identity.scim.vocabulary import Attribute, Json, Kind

TEXT_LENGTH_MAX = 16_384
VALUES_MAX = 100
_TRUE, _FALSE = "true", "false"
_LINE_BREAKS = str.maketrans("\r\n\t", "   ")


def clean(kind: Kind, body: object) -> Json:
    """Return the document of a body that is a whole resource. Raises InvalidSyntaxError or InvalidValueError."""
    if not isinstance(body, dict):
        raise InvalidSyntaxError("The body must be a JSON object.")
    _check_schemas(kind, body)
    document: Json = {}
    for name, value in body.items():
        extension = kind.extensions.get(name.lower())
        if extension is not None:
            document[extension[0]] = clean_members(extension[1], value, extension[0])
            continue
        attribute = kind.attributes.get(name.lower())
        if attribute is not None and not attribute.is_read_only:
            document[attribute.name] = clean_value(attribute, value)
    return without_empty(document)


def clean_value(attribute: Attribute, value: object) -> Any:  # JSON of the attribute's type
    """Return the value of an attribute, or None when it is empty. Raises InvalidValueError."""
    if not attribute.is_multi_valued:
        return clean_one(attribute, value)
    if value is None:
        return None
    values = value if isinstance(value, list) else [value]
    # Members are counted in thousands; they are rows, and limited by the size of the body.
    if len(values) > VALUES_MAX and attribute.name != "members":
        raise InvalidValueError(f"{attribute.name} has {len(values)} values; {VALUES_MAX} are possible.")
    cleaned = [one for one in (_clean_item(attribute, item) for item in values) if one is not None]
    if sum(isinstance(one, dict) and one.get("primary") is True for one in cleaned) > 1:
        raise InvalidValueError(f"Only one of {attribute.name} can be the primary one.")
    return cleaned or None


def _clean_item(attribute: Attribute, item: object) -> Any:  # JSON of the attribute's type
    """Return one of several values; one that says nothing that is known here is refused rather than overlooked."""
    cleaned = clean_one(attribute, item)
    if cleaned is None and isinstance(item, dict) and without_empty(item):
        raise InvalidValueError(f"A value of {attribute.name} has none of: {', '.join(_names(attribute))}.")
    return cleaned


def _names(attribute: Attribute) -> list[str]:
    return [child.name for child in attribute.children.values() if not child.is_read_only]


def clean_one(attribute: Attribute, value: object) -> Any:  # JSON of the attribute's type
    """Return one value of an attribute, or None when it is empty. Raises InvalidValueError."""
    if value is None:
        return None
    if attribute.type == "complex":
        if not isinstance(value, dict):
            if "value" not in attribute.children:
                raise _wrong(attribute.name, "an object")
            value = {"value": value}  # as Entra ID writes a manager
        return clean_members(attribute.children, value, attribute.name)
    if attribute.type == "boolean":
        return _boolean(attribute.name, value)
    if not isinstance(value, str):
        raise _wrong(attribute.name, "a text")
    if attribute.type == "binary":
        _check_base64(attribute.name, value)
    return _text(attribute.name, value)


def clean_members(attributes: Mapping[str, Attribute], value: object, name: str) -> Json | None:
    """Return the members of an object, or None if there are none. Raises InvalidValueError."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise _wrong(name, "an object")
    cleaned: Json = {}
    for key, member in value.items():
        attribute = attributes.get(key.lower())
        if attribute is not None and not attribute.is_read_only:
            cleaned[attribute.name] = clean_value(attribute, member)
    return without_empty(cleaned) or None


def without_empty(document: Mapping[str, Any]) -> Json:  # Any: JSON values
    """Return the document without what is null or has no values."""
    return {name: value for name, value in document.items() if value is not None and value not in ([], {})}


def _check_schemas(kind: Kind, body: Json) -> None:
    given = next((value for name, value in body.items() if name.lower() == "schemas"), None)
    if given is None:
        return
    if not isinstance(given, list) or kind.schema.lower() not in [str(one).lower() for one in given]:
        raise InvalidValueError(f"'schemas' must hold {kind.schema}.")


def _boolean(name: str, value: object) -> bool:
    """Entra ID sends "True" and "False" as texts."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in (_TRUE, _FALSE):
        return value.lower() == _TRUE
    raise _wrong(name, "true or false")


def _text(name: str, value: str) -> str:
    if len(value) > TEXT_LENGTH_MAX:
        raise InvalidValueError(f"{name} has {len(value)} characters; {TEXT_LENGTH_MAX} are possible.")
    if not is_printable(value.translate(_LINE_BREAKS)):
        raise InvalidValueError(f"{name} holds characters that cannot be shown.")
    return value


def _check_base64(name: str, value: str) -> None:
    try:
        base64.b64decode(value.translate(str.maketrans("-_", "+/")), validate=True)
    except (binascii.Error, ValueError):
        raise _wrong(name, "base64") from None


def _wrong(name: str, wanted: str) -> InvalidValueError:
    return InvalidValueError(f"{name} must be {wanted}.")
