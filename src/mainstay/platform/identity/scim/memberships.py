"""Who is put into a group and who is taken out: operations on `members`, added up without reading the members.

A group may have tens of thousands; a PATCH names the few that change.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mainstay.platform.identity.scim.documents import clean_value
from mainstay.platform.identity.scim.errors import InvalidFilterError, InvalidPathError, InvalidValueError
from mainstay.platform.identity.scim.patching import Operation, Verb
from mainstay.platform.identity.scim.vocabulary import Attribute, Json

if TYPE_CHECKING:
    from scim2_models.path import FilterNode

MEMBERS = "members"


@dataclass(slots=True)
class Membership:
    """What becomes of a group's members. With `is_replaced`, `added` are all of them."""

    is_replaced: bool = False
    added: dict[str, None] = field(default_factory=dict)
    removed: dict[str, None] = field(default_factory=dict)

    @property
    def changes_nothing(self) -> bool:
        """Whether everyone stays."""
        return not (self.is_replaced or self.added or self.removed)

    @property
    def takes_away(self) -> bool:
        """Whether someone may lose what the group gives."""
        return self.is_replaced or bool(self.removed)

    def add(self, ids: list[str]) -> None:
        """Put members in."""
        for id_ in ids:
            self.added[id_] = None
            self.removed.pop(id_, None)

    def remove(self, ids: list[str]) -> None:
        """Take members out."""
        for id_ in ids:
            self.added.pop(id_, None)
            self.removed[id_] = None

    def replace(self, ids: list[str]) -> None:
        """Make these, and nobody else, the members."""
        self.is_replaced, self.added, self.removed = True, dict.fromkeys(ids), {}


def membership_of(document: Json) -> Membership:
    """Return what a whole group says of its members: these, and nobody else. Raises InvalidValueError."""
    membership = Membership()
    membership.replace(_ids(document.get(MEMBERS, [])))
    return membership


def take_members(operations: list[Operation]) -> tuple[Membership, list[Operation]]:
    """Add up the operations on members; return them with the other operations. Raises InvalidPathError and others."""
    membership, others = Membership(), []
    for operation in operations:
        attribute = operation.place.attribute
        if attribute is None or attribute.name != MEMBERS:
            others.append(operation)
        else:
            _take(membership, operation, attribute)
    return membership, others


def _take(membership: Membership, operation: Operation, attribute: Attribute) -> None:
    if operation.where is not None:
        _take_chosen(membership, operation, list(_chosen(operation.where)))
        return
    if operation.place.child is not None:
        raise InvalidPathError("Members are put in and taken out; they are not changed.", param="path")
    ids = _ids(clean_value(attribute, operation.value) or [])
    if operation.verb is Verb.ADD:
        membership.add(ids)
    elif operation.verb is Verb.REPLACE:
        membership.replace(ids)
    elif operation.value is None:
        membership.replace([])
    else:
        membership.remove(ids)


def _take_chosen(membership: Membership, operation: Operation, ids: list[str]) -> None:
    """`members[value eq "x"]`: out with it, or in with it, as some directories write."""
    if operation.place.child is not None:
        raise InvalidPathError("Members are put in and taken out; they are not changed.", param="path")
    if operation.verb is Verb.REMOVE:
        membership.remove(ids)
    else:
        membership.add(ids)


def _chosen(where: "FilterNode") -> Iterator[str]:
    from scim2_models.path import CompareOperator, Comparison, LogicalExpr, LogicalOperator

    if isinstance(where, LogicalExpr) and where.op == LogicalOperator.or_:
        for term in where.terms:
            yield from _chosen(term)
        return
    is_value = isinstance(where, Comparison) and where.attr_path.attr.lower() == "value"
    if not is_value or not isinstance(where, Comparison) or where.op != CompareOperator.eq:
        raise InvalidFilterError("Members can be chosen by 'value eq' and 'or' only.", param="path")
    if not isinstance(where.value, str):
        raise InvalidFilterError("The value of a member is an id, which is a text.", param="path")
    yield where.value


def _ids(members: list[Json]) -> list[str]:
    ids = [one.get("value") for one in members]
    if not all(ids):
        raise InvalidValueError("Every member must have a 'value', the id of a user or a group.")
    return [str(id_) for id_ in ids]
