"""The first owner of an organisation: made on the machine itself, since nobody has a default password."""

from mainstay.kit.clock import Clock
from mainstay.kit.database import Database
from mainstay.kit.errors import NotFoundError
from mainstay.kit.pages import PageRequest
from mainstay.platform.audit.events import Act
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.bindings import Bindings, NewBinding
from mainstay.platform.identity.owners import active_owners
from mainstay.platform.identity.roles import OWNER
from mainstay.platform.identity.users import NewUser, User, Users

FIRST_EMAIL = "owner@localhost"
"""The address of an owner who was made before anyone said who it is; an administrator changes it."""


class FirstOwner:
    """Finds the user of an address, and makes that user the owner where an organisation has none."""

    def __init__(self, database: Database, acts: Acts, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._users = Users(database, acts, clock)
        self._bindings = Bindings(database, acts, clock)

    async def has_users(self, organisation_id: str) -> bool:
        """Whether the organisation has any user."""
        return bool((await self._users.list(organisation_id, PageRequest(limit=1))).items)

    async def find_or_make(self, act: Act, organisation_id: str, email: str) -> tuple[User, bool]:
        """Return the user, and whether the user was made an owner by this.

        Raises NotFoundError where there are owners, who make users themselves.
        """
        user = await self._users.find_by_email(organisation_id, email)
        async with self._database.transaction() as transaction:
            owners = await active_owners(transaction, organisation_id, int(self._clock.wall() * 1000))
        if user is None and owners:
            raise NotFoundError(
                f"There is no user '{email[:80]}'; an administrator makes users, at /admin/v1/users for one."
            )
        if user is None:
            name = email.partition("@")[0].strip() or email
            return await self._users.create(
                act, organisation_id, NewUser(email=email, name=name, role_id=OWNER.id)
            ), True
        if owners:
            return user, False
        await self._bindings.create(act, organisation_id, NewBinding(principal_id=user.id, role_id=OWNER.id))
        return user, True
