"""What either database writes its own way: reading JSON, and looking up what is listed.

Names are constants of the schemas, never what someone sent.
"""

from mainstay.kit.database import Dialect


class JsonSql:
    """Writes expressions."""

    def __init__(self, dialect: Dialect) -> None:
        self._is_sqlite = dialect is Dialect.SQLITE

    def parsed(self, column: str) -> str:
        """The JSON of a text column."""
        return column if self._is_sqlite else f"CAST({column} AS jsonb)"

    def text(self, source: str, *names: str) -> str:
        """The value at a path as text, or NULL; a boolean as `is_true` takes it."""
        if self._is_sqlite:
            path = ".".join(f'"{name}"' for name in names)
            return f"json_extract({source}, '$.{path}')"
        return f"({source} #>> '{{{','.join(names)}}}')"

    def is_true(self, text: str) -> str:
        """Whether a value that `text` gave is true."""
        return f"{text} = 1" if self._is_sqlite else f"{text} = 'true'"

    def items(self, source: str, *names: str) -> str:
        """A table of an array's values; its column is `item.value`."""
        if self._is_sqlite:
            path = ".".join(f'"{name}"' for name in names)
            return f"json_each({source}, '$.{path}') AS item"
        return f"jsonb_array_elements({source} #> '{{{','.join(names)}}}') AS item (value)"

    def contact(self, *, name: str, email: str) -> str:
        """An object with a display name and one address."""
        if self._is_sqlite:
            address = f"json_array(json_object('value', {email}, 'primary', json('true')))"
            return f"json_object('displayName', {name}, 'emails', {address})"
        address = f"jsonb_build_array(jsonb_build_object('value', {email}, 'primary', true))"
        return f"jsonb_build_object('displayName', {name}, 'emails', {address})"

    def listed(self, placeholder: str) -> str:
        """A subquery of the texts in a JSON array that is given as a value."""
        if self._is_sqlite:
            return f"SELECT value FROM json_each({placeholder})"  # noqa: S608 - a placeholder
        return f"SELECT jsonb_array_elements_text(CAST({placeholder} AS jsonb))"

    def among(self, column: str, subquery: str) -> str:
        """Whether a column is among what a subquery gives, which is few and looked up first.

        PostgreSQL plans a join where it sees one, and a bad one as long as it has no statistics of new rows. Then it
        also takes an organisation's users or groups for a handful, and reads all of them rather than those listed;
        statements that look a few up write `organisation_id || '' =`, which leaves it the index of what they look up.
        """
        return f"{column} IN ({subquery})" if self._is_sqlite else f"{column} = ANY (ARRAY({subquery}))"

    def exists(self, items: str, condition: str) -> str:
        """Whether a table that `items` gave has a row for which the condition holds."""
        return f"EXISTS (SELECT 1 FROM {items} WHERE {condition})"  # noqa: S608 - both are made here and in filters.py

    def ends_with(self, text: str, end: str) -> str:
        """Whether a text ends with another."""
        tail = f"substr({text}, -length({end}))" if self._is_sqlite else f"right({text}, length({end}))"
        return f"{tail} = {end}"

    def contains(self, text: str, part: str) -> str:
        """Whether a text contains another."""
        return f"instr({text}, {part}) > 0" if self._is_sqlite else f"strpos({text}, {part}) > 0"

    def ordered(self, text: str) -> str:
        """A text that is compared by its characters' numbers."""
        return text if self._is_sqlite else f'{text} COLLATE "C"'
