"""What can be wrong with a SCIM request; the code is RFC 7644's `scimType` (table 9)."""

from mainstay.kit.errors import ConflictError, InvalidRequestError


class InvalidSyntaxError(InvalidRequestError):
    """The body is not what the operation takes."""

    code = "invalidSyntax"


class InvalidValueError(InvalidRequestError):
    """A value is missing, or is not one that its attribute can have."""

    code = "invalidValue"


class InvalidFilterError(InvalidRequestError):
    """The filter cannot be read, or compares what cannot be compared."""

    code = "invalidFilter"


class InvalidPathError(InvalidRequestError):
    """The path of a PATCH operation cannot be read, or names no attribute."""

    code = "invalidPath"


class NoTargetError(InvalidRequestError):
    """The path of a PATCH operation leads to nothing."""

    code = "noTarget"


class MutabilityError(InvalidRequestError):
    """The attribute is for reading only."""

    code = "mutability"


class UniquenessError(ConflictError):
    """Another user has this name or address already."""

    code = "uniqueness"


SCIM_TYPES = frozenset(
    kind.code
    for kind in (
        InvalidSyntaxError,
        InvalidValueError,
        InvalidFilterError,
        InvalidPathError,
        NoTargetError,
        MutabilityError,
        UniquenessError,
    )
)
"""The codes that a SCIM client knows."""
