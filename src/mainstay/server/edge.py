"""Builds what stands between the network and the routes: who is known and how, what browsers may do, what is live."""

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mainstay.api.admin.requests import origin_of
from mainstay.api.app import Edge, ignore_denial
from mainstay.api.auth.door import Door
from mainstay.api.auth.own import Own
from mainstay.api.auth.pages import Pages
from mainstay.api.auth.signing_in import SigningIn
from mainstay.api.authentication import Authentication, Callers, TokenVerifier, WithLocalKey
from mainstay.api.browsers import Browsers
from mainstay.api.client_address import ClientAddresses
from mainstay.api.cookies import Cookies
from mainstay.api.exchange import Exchange
from mainstay.api.live_calls import LiveCalls
from mainstay.api.organisation_header import OrganisationHeader
from mainstay.api.routes import Route, RouteGroup
from mainstay.kit.clock import Clock, SystemClock
from mainstay.kit.database import Database
from mainstay.kit.errors import PermissionDeniedError
from mainstay.kit.secrets import load_or_create_secret
from mainstay.platform.audit.events import Act, Actor, ActorType, Event, Outcome
from mainstay.platform.audit.ledger import Ledger
from mainstay.platform.identity.acts import Acts
from mainstay.platform.identity.authorize import Authority
from mainstay.platform.identity.caller import Caller, Scope
from mainstay.platform.identity.change_feed import View
from mainstay.platform.identity.default_projects import DefaultProjects
from mainstay.platform.identity.directory import Directory
from mainstay.platform.identity.organisations import DEFAULT_TENANT
from mainstay.platform.identity.password_sign_in import Lockout, PasswordSignIn
from mainstay.platform.identity.passwords import Passwords
from mainstay.platform.identity.session_ring import SessionRing
from mainstay.platform.identity.sessions import Lifetimes, Sessions, SessionSecrets
from mainstay.platform.identity.sign_in_links import SignInLinks
from mainstay.platform.identity.sign_in_options import SignInOptions
from mainstay.platform.identity.sign_in_rules import PolicyRules
from mainstay.platform.identity.throttle import Throttle
from mainstay.settings import Settings, SignIn


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What the doors are built on."""

    database: Database
    clock: Clock
    acts: Acts
    authority: Authority
    pepper: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """Every way in for people, and what remembers who came in."""

    sessions: Sessions
    ring: SessionRing
    links: SignInLinks
    by_password: PasswordSignIn
    passwords: Passwords
    projects: DefaultProjects
    cookies: Cookies
    browsers: Browsers

    @property
    def views(self) -> Sequence[View]:
        """What the change feed keeps up to date, in the order in which it must."""
        return (self.projects, self.ring)


def build_ground(settings: Settings, database: Database) -> Ground:
    """Build it. The directory, from which the authority decides, is empty until it is loaded."""
    clock = SystemClock()
    return Ground(
        database=database,
        clock=clock,
        acts=Acts(Ledger(clock), clock),
        authority=Authority(Directory(database), clock),
        pepper=load_or_create_secret(settings.home / "keys" / "pepper"),
    )


def build_doors(settings: Settings, ground: Ground) -> Doors:
    """Build what people sign in with. `passwords` must be closed at the end, and `ring.run` kept running."""
    database, acts, clock = ground.database, ground.acts, ground.clock
    wanted = settings.sign_in
    lifetimes = lifetimes_of(wanted)
    secrets = SessionSecrets(ground.pepper)
    rules = PolicyRules(ground.authority.policies)
    projects = DefaultProjects(database)
    passwords = Passwords()
    sessions = Sessions(database, acts, clock, secrets=secrets, lifetimes=lifetimes)
    lockout_seconds = wanted.lockout_minutes * 60
    by_password = PasswordSignIn(
        database,
        acts,
        clock,
        passwords=passwords,
        sessions=sessions,
        # Each worker counts for itself what arrives at it.
        throttle=Throttle(
            clock, failures=wanted.attempts_per_address / settings.server.workers, seconds=lockout_seconds
        ),
        rules=rules,
        lockout=Lockout(attempts=wanted.attempts_before_lockout, seconds=lockout_seconds),
    )
    links = SignInLinks(
        database,
        acts,
        clock,
        pepper=ground.pepper,
        sessions=sessions,
        rules=rules,
        good_for_seconds=wanted.link_minutes * 60,
    )
    return Doors(
        sessions=sessions,
        ring=SessionRing(database, clock, secrets=secrets, lifetimes=lifetimes, projects=projects),
        links=links,
        by_password=by_password,
        passwords=passwords,
        projects=projects,
        cookies=Cookies(settings.server.public_url),
        browsers=Browsers(settings.server.public_url, settings.server.cors_origins),
    )


def build_door(ground: Ground, doors: Doors) -> Door:
    """Build what the routes and the pages of signing in share."""
    return Door(
        sessions=doors.sessions,
        ring=doors.ring,
        links=doors.links,
        by_password=doors.by_password,
        cookies=doors.cookies,
        browsers=doors.browsers,
        authority=ground.authority,
        clock=ground.clock,
    )


def build_sign_in(ground: Ground, doors: Doors) -> tuple[RouteGroup, ...]:
    """Build the routes and pages of signing in."""
    door = build_door(ground, doors)
    options = SignInOptions(ground.database, PolicyRules(ground.authority.policies))
    own = Own(door, ground.database)
    return SigningIn(door, options), own, Pages(door, own, options)


def build_edge(
    settings: Settings,
    ground: Ground,
    doors: Doors,
    *,
    callers: Callers,
    tokens: TokenVerifier | None = None,
    note_refusal: Callable[[Act, str, Event], None] | None = None,
) -> Edge:
    """Build the edge. `live_calls.run` must be kept running, and `live_calls.notice` told of every change."""
    authentication = Authentication(
        callers, sessions=doors.ring, tokens=tokens, cookies=doors.cookies, browsers=doors.browsers
    )
    return Edge(
        authentication=authentication,
        authority=ground.authority,
        live_calls=LiveCalls(authentication, ground.authority),
        organisations=OrganisationHeader(doors.projects),
        browsers=doors.browsers,
        addresses=ClientAddresses([ipaddress.ip_network(text) for text in settings.server.trusted_proxies]),
        on_denied=ignore_denial if note_refusal is None else _auditing(note_refusal),
    )


def _auditing(note: Callable[[Act, str, Event], None]) -> Callable[[Exchange, Route, PermissionDeniedError], None]:
    """Return what writes denials to the audit log of the caller's organisation."""

    def on_denied(exchange: Exchange, route: Route, error: PermissionDeniedError) -> None:
        event = Event(
            action="access.denied",
            outcome=Outcome.DENIED,
            details={"action": route.action.value, "method": route.method, "route": route.path, "why": error.code},
        )
        caller = exchange.caller
        actor = Actor(type=caller.actor_type, id=caller.principal_id or caller.key_id, credential_id=caller.key_id)
        note(Act(actor=actor, origin=origin_of(exchange)), caller.organisation_id, event)

    return on_denied


def with_local_key(callers: Callers, local_key: str) -> WithLocalKey:
    """Return the callers and one more: the owner of this machine, who may do anything but read people's content."""
    owner = Caller(
        key_id="key_local",
        organisation_id=DEFAULT_TENANT.organisation_id,
        project_id=DEFAULT_TENANT.project_id,
        scopes=frozenset({Scope.INFERENCE, Scope.ADMIN, Scope.OPERATOR}),
        actor_type=ActorType.OPERATOR,
    )
    return WithLocalKey(callers, local_key, owner)


def lifetimes_of(wanted: SignIn) -> Lifetimes:
    """Return how long sessions last by the settings."""
    return Lifetimes(idle_seconds=wanted.session_idle_minutes * 60, max_seconds=wanted.session_max_hours * 3600)
