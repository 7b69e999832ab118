"""From a SCIM filter to the WHERE of a statement.

Names become constants of the schemas and values become placeholders: nothing that was sent is in the statement's
text. What an unknown value makes of a comparison is false, as in SCIM, also below a `not`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mainstay.kit.database import Dialect, Value
from mainstay.platform.identity.scim.errors import InvalidFilterError, InvalidPathError
from mainstay.platform.identity.scim.json_sql import JsonSql
from mainstay.platform.identity.scim.vocabulary import Attribute, Kind, Place, parse_filter, parse_path

if TYPE_CHECKING:
    from scim2_models.path import AttrPath, Comparison, FilterNode, ValuePath

NEVER = "1 = 0"
_PREFIX = "scim_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """Where an attribute is when it is not in the JSON document.

    `equality` is a statement that finds ids by an index; `{value}` is the placeholder. `fold` makes a value
    comparable with the column.
    """

    sql: str
    type: str = "text"
    fold: Callable[[str], str] | None = None
    is_case_exact: bool = True
    equality: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the attributes of a kind are. Keys are lower-case paths without a URN, such as `meta.created`.

    `links` are multi-valued attributes that are rows: a statement that finds who has `{value}` among them, and one
    that finds who has any.
    """

    kind: Kind
    document: str | None
    columns: Mapping[str, Column]
    links: Mapping[str, tuple[str, str]]
    order: Mapping[str, str] = field(default_factory=dict)
    """What multi-valued attributes are sorted by."""
    stored_names: Mapping[str, str] = field(default_factory=dict)
    """By which name an extension is in the document."""


@dataclass(slots=True)
class Compiler:
    """Writes one condition; `values` are those of its placeholders.

    With `is_lenient`, attributes that the kind does not have are never equal to anything (RFC 7644, 3.4.2.1).
    """

    source: Source
    dialect: Dialect
    is_lenient: bool = False
    values: dict[str, Value] = field(default_factory=dict)
    is_lookup: bool = False
    """Whether the condition is nothing but an equality that an index finds."""

    @property
    def _json(self) -> JsonSql:
        return JsonSql(self.dialect)

    def where(self, text: str) -> str:
        """Return the condition of a filter. Raises InvalidFilterError."""
        from scim2_models.path import Comparison

        node = parse_filter(text)
        condition = self._visit(node)
        self.is_lookup = isinstance(node, Comparison) and self._is_lookup(node)
        return condition

    def order_by(self, text: str, *, is_descending: bool) -> str:
        """Return the ORDER BY of an attribute; what has no value comes last, or first when descending (3.4.2.3)."""
        from scim2_models.path import AttrPath

        node = parse_path(text)
        place = self._find(node) if isinstance(node, AttrPath) else None
        if place is None or place.attribute is None:
            if self.is_lenient:
                return "p.id"
            raise InvalidPathError(f"Nothing can be sorted by '{text[:100]}'.", param="sortBy")
        sql = self._sortable(place)
        direction = "DESC" if is_descending else "ASC"
        return f"({sql} IS NULL) {direction}, {sql} {direction}, p.id {direction}"

    def _sortable(self, place: Place) -> str:
        column = self.source.columns.get(_key(place))
        if column is not None:
            text = column.sql if column.is_case_exact else f"lower({column.sql})"
            return column.sql if column.type != "text" else self._json.ordered(text)
        if _key(place) in self.source.order:
            return self._json.ordered(self.source.order[_key(place)])
        if place.attribute is None or place.attribute.is_multi_valued or self.source.document is None:
            raise InvalidPathError("Nothing can be sorted by an attribute with several values.", param="sortBy")
        leaf = _leaf(place)
        text = self._json.text(self.source.document, *self._path(place, leaf))
        return self._json.ordered(text if leaf.is_case_exact else f"lower({text})")

    def _visit(self, node: "FilterNode") -> str:
        from scim2_models.path import Comparison, LogicalExpr, LogicalOperator, Not, Present, ValuePath

        if isinstance(node, Not):
            return f"NOT coalesce({self._visit(node.expr)}, FALSE)"
        if isinstance(node, LogicalExpr):
            word = " AND " if node.op == LogicalOperator.and_ else " OR "
            return "(" + word.join(self._visit(term) for term in node.terms) + ")"
        if isinstance(node, Present):
            return self._present(node.attr_path)
        if isinstance(node, Comparison):
            return self._comparison(node)
        if isinstance(node, ValuePath):
            return self._value_path(node)
        raise InvalidFilterError("The filter holds what cannot be evaluated.", param="filter")

    def _find(self, path: "AttrPath") -> Place | None:
        place = self.source.kind.find(path)
        if place is not None and self._is_stored(place):
            return place
        if self.is_lenient:
            return None
        what = "has no attribute" if place is None else "cannot be found by"
        raise InvalidFilterError(f"A {self.source.kind.name} {what} '{str(path)[:200]}'.", param="filter")

    def _is_stored(self, place: Place) -> bool:
        """Whether the attribute is anywhere; some are made only when a resource is sent."""
        key = _key(place)
        is_made = place.attribute is not None and place.attribute.is_read_only
        return not is_made or key in self.source.columns or key.partition(".")[0] in self.source.links

    def _present(self, path: "AttrPath") -> str:
        place = self._find(path)
        if place is None:
            return NEVER
        column = self.source.columns.get(_key(place))
        if column is not None:
            return f"{column.sql} IS NOT NULL"
        link = self.source.links.get(_key(place).partition(".")[0])
        if link is not None:
            return f"p.id IN ({link[1]})"  # many, so it is left to the database how to find them
        document = self._document()
        if place.attribute is None:
            return f"{self._json.text(document, self.source.stored_names[str(place.extension)])} IS NOT NULL"
        if place.attribute.is_multi_valued:
            condition = "TRUE" if place.child is None else f"{self._item(place.child)} IS NOT NULL"
            return self._json.exists(self._items(place), condition)
        names = [place.attribute.name, *([place.child.name] if place.child else [])]
        return f"{self._json.text(document, *self._stored(place), *names)} IS NOT NULL"

    def _comparison(self, node: "Comparison") -> str:
        place = self._find(node.attr_path)
        if place is None:
            return NEVER
        if place.attribute is None:
            raise InvalidFilterError("An extension as a whole has no value to compare.", param="filter")
        column = self.source.columns.get(_key(place))
        if column is not None:
            return self._compared_column(node, column)
        if place.attribute.name.lower() in self.source.links:
            return self._linked(node, place)
        leaf = _leaf(place)
        if place.attribute.is_multi_valued:
            condition = self._compared(node, self._item(leaf), leaf)
            return self._json.exists(self._items(place), condition)
        return self._compared(node, self._json.text(self._document(), *self._path(place, leaf)), leaf)

    def _value_path(self, node: "ValuePath") -> str:
        place = self._find(node.attr_path)
        if place is None:
            return NEVER
        attribute = place.attribute
        if attribute is None or not attribute.is_multi_valued or not attribute.children:
            raise InvalidFilterError(f"'{str(node.attr_path)[:100]}' has no values to choose from.", param="filter")
        if attribute.name.lower() in self.source.links:
            return self._visit_linked(node.val_filter, place)
        return self._json.exists(self._items(place), self._visit_item(node.val_filter, attribute))

    def _visit_item(self, node: "FilterNode", attribute: Attribute) -> str:
        """A condition on one value of a multi-valued attribute."""
        from scim2_models.path import Comparison, LogicalExpr, LogicalOperator, Not, Present

        if isinstance(node, Not):
            return f"NOT coalesce({self._visit_item(node.expr, attribute)}, FALSE)"
        if isinstance(node, LogicalExpr):
            word = " AND " if node.op == LogicalOperator.and_ else " OR "
            return "(" + word.join(self._visit_item(term, attribute) for term in node.terms) + ")"
        if not isinstance(node, Comparison | Present):
            raise InvalidFilterError("Filters between brackets hold no other brackets.", param="filter")
        child = attribute.children.get(node.attr_path.attr.lower())
        if child is None:
            raise InvalidFilterError(f"'{attribute.name}' has no '{str(node.attr_path)[:100]}'.", param="filter")
        if isinstance(node, Present):
            return f"{self._item(child)} IS NOT NULL"
        return self._compared(node, self._item(child), child)

    def _visit_linked(self, node: "FilterNode", place: Place) -> str:
        from scim2_models.path import Comparison

        if not isinstance(node, Comparison) or node.attr_path.attr.lower() != "value":
            raise InvalidFilterError(f"'{_key(place)}' can be chosen by value eq only.", param="filter")
        return self._linked(node, place)

    def _linked(self, node: "Comparison", place: Place) -> str:
        from scim2_models.path import CompareOperator

        is_value = place.child is None or place.child.name == "value"
        if node.op != CompareOperator.eq or not is_value or not isinstance(node.value, str):
            raise InvalidFilterError(f"'{_key(place)}' can be compared by value eq only.", param="filter")
        statement = self.source.links[_key(place).partition(".")[0]][0]
        return self._json.among("p.id", statement.format(value=self._bind(node.value)))

    def _is_lookup(self, node: "Comparison") -> bool:
        place = self._find(node.attr_path)
        column = None if place is None else self.source.columns.get(_key(place))
        is_indexed = column is not None and column.equality is not None
        return is_indexed and node.op.value == "eq" and isinstance(node.value, str)

    def _compared_column(self, node: "Comparison", column: Column) -> str:
        if column.type == "boolean":
            return self._truth(node, column.sql)
        if column.type == "time":
            return self._time(node, column.sql)
        if column.equality is not None and node.op.value == "eq" and isinstance(node.value, str):
            value = node.value if column.fold is None else column.fold(node.value)
            return self._json.among("p.id", column.equality.format(value=self._bind(value)))
        return self._text(node, column.sql, column.fold, is_case_exact=column.is_case_exact)

    def _compared(self, node: "Comparison", text: str, leaf: Attribute) -> str:
        if leaf.type == "boolean":
            return self._truth(node, self._json.is_true(text))
        if leaf.type == "complex":
            raise InvalidFilterError(f"'{leaf.name}' has members; compare one of them.", param="filter")
        return self._text(node, text, None, is_case_exact=leaf.is_case_exact)

    def _truth(self, node: "Comparison", condition: str) -> str:
        wanted = str(node.value).lower()
        if node.op.value not in ("eq", "ne") or wanted not in ("true", "false"):
            raise InvalidFilterError(f"'{node}' must compare with true or false.", param="filter")
        is_wanted = (wanted == "true") == (node.op.value == "eq")
        return f"({condition})" if is_wanted else f"NOT coalesce({condition}, FALSE)"

    def _time(self, node: "Comparison", column: str) -> str:
        sign = {"eq": "=", "ne": "<>", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}.get(node.op.value)
        try:
            moment = datetime.fromisoformat(str(node.value))
            at_ms = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
        except (ValueError, OverflowError):
            sign = None
        if sign is None:
            raise InvalidFilterError(f"'{str(node)[:200]}' must compare with a time.", param="filter")
        return f"{column} {sign} {self._bind(at_ms)}"

    def _text(self, node: "Comparison", text: str, fold: Callable[[str], str] | None, *, is_case_exact: bool) -> str:
        op = node.op.value
        if node.value is None:
            if op not in ("eq", "ne"):
                raise InvalidFilterError("Nothing but eq and ne can compare with null.", param="filter")
            return f"{text} IS {'' if op == 'eq' else 'NOT '}NULL"
        if not isinstance(node.value, str):
            raise InvalidFilterError(f"'{str(node)[:200]}' must compare with a text.", param="filter")
        value = f"CAST({self._bind(fold(node.value) if fold else node.value)} AS text)"
        if not is_case_exact:
            text, value = f"lower({text})", f"lower({value})"
        if op in ("gt", "ge", "lt", "le"):
            sign = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}[op]
            return f"{self._json.ordered(text)} {sign} {value}"
        if op == "ne":
            return f"coalesce({text} <> {value}, TRUE)"
        if not node.value:
            return f"{text} = {value}" if op == "eq" else f"{text} IS NOT NULL"
        return {
            "eq": f"{text} = {value}",
            "co": self._json.contains(text, value),
            "sw": f"substr({text}, 1, length({value})) = {value}",
            "ew": self._json.ends_with(text, value),
        }[op]

    def _bind(self, value: Value) -> str:
        if isinstance(value, str) and ("\x00" in value or any("\ud800" <= letter <= "\udfff" for letter in value)):
            raise InvalidFilterError("The filter holds characters that no text can have.", param="filter")
        name = f"{_PREFIX}{len(self.values)}"
        self.values[name] = value
        return f":{name}"

    def _document(self) -> str:
        if self.source.document is None:
            raise InvalidFilterError("Nothing can be found by this attribute.", param="filter")
        return self.source.document

    def _stored(self, place: Place) -> list[str]:
        return [] if place.extension is None else [self.source.stored_names[place.extension]]

    def _path(self, place: Place, leaf: Attribute) -> list[str]:
        assert place.attribute is not None  # noqa: S101 - the callers have looked
        names = [*self._stored(place), place.attribute.name]
        return names if leaf is place.attribute else [*names, leaf.name]

    def _items(self, place: Place) -> str:
        assert place.attribute is not None  # noqa: S101 - the callers have looked
        return self._json.items(self._document(), *self._stored(place), place.attribute.name)

    def _item(self, child: Attribute) -> str:
        return self._json.text("item.value", child.name)


def _leaf(place: Place) -> Attribute:
    """What is compared: a complex attribute's `value` when nothing else of it is named."""
    assert place.attribute is not None  # noqa: S101 - the callers have looked
    if place.child is not None:
        return place.child
    return place.attribute.children.get("value", place.attribute)


def _key(place: Place) -> str:
    if place.extension is not None or place.attribute is None:
        return "extension"
    name = place.attribute.name.lower()
    return name if place.child is None else f"{name}.{place.child.name.lower()}"
