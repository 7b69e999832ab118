"""Which values of a multi-valued attribute a filter between brackets chooses, in memory."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mainstay.platform.identity.scim.errors import InvalidFilterError
from mainstay.platform.identity.scim.vocabulary import Attribute, Json

if TYPE_CHECKING:
    from scim2_models.path import Comparison, FilterNode


def matches(node: "FilterNode", item: Json, attribute: Attribute) -> bool:
    """Whether `item`, one value of `attribute`, satisfies the filter. Raises InvalidFilterError."""
    from scim2_models.path import Comparison, LogicalExpr, LogicalOperator, Not, Present

    if isinstance(node, Not):
        return not matches(node.expr, item, attribute)
    if isinstance(node, LogicalExpr):
        found = [matches(term, item, attribute) for term in node.terms]
        return all(found) if node.op == LogicalOperator.and_ else any(found)
    if isinstance(node, Present):
        return item.get(child_of(attribute.children, node.attr_path.attr).name) is not None
    if isinstance(node, Comparison):
        child = child_of(attribute.children, node.attr_path.attr)
        return _compares(node, item.get(child.name), child)
    raise InvalidFilterError("Filters between brackets compare values of one attribute.")


def equalities(node: "FilterNode", attribute: Attribute) -> Json | None:
    """Return what an item must hold for a filter of nothing but `eq` and `and`; None for any other filter."""
    from scim2_models.path import CompareOperator, Comparison, LogicalExpr, LogicalOperator

    if isinstance(node, Comparison) and node.op == CompareOperator.eq and node.value is not None:
        return {child_of(attribute.children, node.attr_path.attr).name: node.value}
    if isinstance(node, LogicalExpr) and node.op == LogicalOperator.and_:
        found: Json = {}
        for term in node.terms:
            one = equalities(term, attribute)
            if one is None:
                return None
            found |= one
        return found
    return None


def child_of(children: Mapping[str, Attribute], name: str) -> Attribute:
    """Return a member of a complex attribute. Raises InvalidFilterError if there is no such member."""
    child = children.get(name.lower())
    if child is None:
        raise InvalidFilterError(f"There is no attribute '{name[:100]}' here.", param="filter")
    return child


def _compares(node: "Comparison", found: Any, child: Attribute) -> bool:  # Any: a JSON value
    from scim2_models.path import CompareOperator

    wanted = node.value
    if isinstance(found, bool):
        wanted = str(wanted).lower() == "true"  # Entra ID compares with "True"
    elif isinstance(found, str) and isinstance(wanted, str) and not child.is_case_exact:
        found, wanted = found.casefold(), wanted.casefold()
    if node.op == CompareOperator.eq:
        return bool(found == wanted)
    if node.op == CompareOperator.ne:
        return bool(found != wanted)
    if not isinstance(found, str) or not isinstance(wanted, str):
        return False
    return {
        CompareOperator.co: wanted in found,
        CompareOperator.sw: found.startswith(wanted),
        CompareOperator.ew: found.endswith(wanted),
        CompareOperator.gt: found > wanted,
        CompareOperator.ge: found >= wanted,
        CompareOperator.lt: found < wanted,
        CompareOperator.le: found <= wanted,
    }[node.op]
