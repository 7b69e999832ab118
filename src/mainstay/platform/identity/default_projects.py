"""The project that someone is in who names none: the oldest of the organisation that is not archived."""

from mainstay.kit.database import Database
from mainstay.platform.identity.change_feed import Changed, ChangeKind

_OLDEST = (
    "SELECT o.id, (SELECT p.id FROM projects p WHERE p.organisation_id = o.id AND p.archived_at_ms IS NULL "
    "ORDER BY p.created_at_ms, p.id LIMIT 1) FROM organisations o"
)


class DefaultProjects:
    """Every organisation and its default project, in memory. A view of the change feed."""

    kinds = frozenset({ChangeKind.ORGANISATION, ChangeKind.PROJECT})

    def __init__(self, database: Database) -> None:
        self._database = database
        self._projects: dict[str, str | None] = {}

    def has(self, organisation_id: str) -> bool:
        """Whether there is such an organisation."""
        return organisation_id in self._projects

    def of(self, organisation_id: str) -> str | None:
        """Return the project's id; None if the organisation has none."""
        return self._projects.get(organisation_id)

    async def reload(self) -> None:
        """Read them all."""
        self._projects = dict(await self._read())

    async def apply(self, changed: Changed) -> None:
        """Read them all: there are few, and they seldom change."""
        del changed
        await self.reload()

    async def _read(self) -> list[tuple[str, str | None]]:
        return [(row[0], row[1]) for row in await self._database.fetch(_OLDEST)]
