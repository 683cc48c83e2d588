"""What is wrong with a database: its schema against this release, its rows, server and link."""

from collections.abc import Sequence

from coordinator.core.errors import SchemaMismatch
from coordinator.operate.drift import Finding, Severity, drift_findings
from coordinator.store import tls
from coordinator.store.catalog import ROLES
from coordinator.store.connection import Connection
from coordinator.store.dsn import ConnectTarget
from coordinator.store.halves import Half
from coordinator.store.hearing import hears
from coordinator.store.migration_plan import Deed, Step
from coordinator.store.migrations import (
    OLDEST_SERVER,
    Standing,
    migrations,
    pending_steps,
    standings,
)
from coordinator.store.passes import Server, check_server
from coordinator.store.schema_health import (
    Contradiction,
    SchemaHealth,
    contradictions,
    schema_health,
)

__all__ = ["Finding", "Severity", "diagnose"]

_QUEUE_WARNING = 0.5
# The first minor release of each major in which a backend no longer loses track of its place in
# the notification queue.
_LISTEN_MENDED = {15: 16, 16: 12, 17: 8, 18: 2}


async def diagnose(connection: Connection) -> list[Finding]:
    """Look at everything, change nothing; the worst findings come first, none means well.

    `connection` may be any role's that can read the tables; a second one like it is opened, to see
    whether notifications arrive. Raise StoreUnavailable or RequestRefused as any statement does.
    """
    server = await check_server(connection)
    found = server_findings(server)
    found += await _schema_findings(connection)
    found += health_findings(await schema_health(connection))
    found += link_findings(connection.target)
    if not server.standby and not await hears(connection):
        found.append(_DEAF)
    return sorted(found, key=lambda finding: list(Severity).index(finding.severity))


def server_findings(server: Server) -> list[Finding]:
    """Judge the server's version and role."""
    found = []
    major, minor = divmod(server.version, 10000)
    if server.version < OLDEST_SERVER:
        found.append(
            Finding(
                Severity.ERROR,
                f"PostgreSQL {server.version_text} is too old",
                "the schema needs 15 or newer",
                "Move the database to a newer server.",
            )
        )
    elif minor < _LISTEN_MENDED.get(major, 0):
        found.append(
            Finding(
                Severity.WARNING,
                f"PostgreSQL {server.version_text} can lose notifications",
                "a listener may skip some or fail; the coordinator then works by its safety poll",
                f"Update the server to {major}.{_LISTEN_MENDED[major]} or newer.",
            )
        )
    if server.standby:
        found.append(
            Finding(
                Severity.ERROR,
                "the server is a standby",
                "nothing can be written there, and LISTEN is refused",
                "Point the DSN at the primary; target_session_attrs=primary finds it.",
            )
        )
    return found


def step_findings(steps: Sequence[Step]) -> list[Finding]:
    """Judge what `migrate` would do."""
    to_run = [step.migration.file_name for step in steps if step.deed is Deed.RUN]
    if to_run:
        whole = to_run[0] == migrations(Half.COORDINATION)[0].file_name
        return [
            Finding(
                Severity.ERROR,
                "the schema is missing" if whole else "the schema is older than this release",
                f"not applied: {', '.join(to_run)}",
                "Run coordinator migrate, or check the database's name in the DSN.",
            )
        ]
    if any(step.deed is Deed.ADOPT for step in steps):
        return [
            Finding(
                Severity.NOTE,
                "the schema is right, but not in every history of migrations",
                "it was applied with psql or the Supabase CLI",
                "Run coordinator migrate: it adopts what is there and changes nothing else.",
            )
        ]
    return []


def health_findings(health: SchemaHealth) -> list[Finding]:
    """Judge the state of the server and of the roles."""
    return [
        *(
            Finding(
                Severity.ERROR,
                f"role {role} is missing",
                "roles are not in a dump of one database",
                f"create role {role} nologin; then run the grants of the migration roles again.",
            )
            for role in health.missing_roles
        ),
        *(
            Finding(
                Severity.WARNING,
                f"login {login} is bound to one agent, and may do more than any",
                "as a superuser, with bypassrls or as a daemon it passes the binding by",
                "Take that right from it, or drop it: coordinator agents drop-login.",
            )
            for login in health.loosely_bound
        ),
        *_owner_findings(health.owners),
        *_load_findings(health),
    ]


def link_findings(target: ConnectTarget) -> list[Finding]:
    """Judge how the way to the server is protected."""
    return [
        Finding(
            Severity.NOTE,
            f"the server at {host} does not have to prove who it is",
            f"sslmode is {mode}: whoever is on the way can read everything, or answer in its place",
            "Where others are on the way, leave sslmode out of the DSN; see docs/security.md.",
        )
        for host in target.hosts
        if not tls.is_local(host.host)
        and (mode := tls.sslmode(host.host, target.security)) not in {"verify-ca", "verify-full"}
    ]


def row_findings(wrong: Sequence[Contradiction]) -> list[Finding]:
    """Judge rows that contradict each other."""
    return [
        Finding(
            Severity.ERROR,
            f"agent {row.agent} and handoff {row.handoff_id} contradict each other",
            "the agent's current_handoff is not in progress with it"
            if row.wrong == "agent"
            else "the handoff is in progress with it, but is not its current_handoff",
            "A trigger was off when this was written. As the owner, with triggers disabled: set"
            " current_handoff to what is in progress with this agent, or null; see docs/schema.md.",
        )
        for row in wrong
    ]


async def _schema_findings(connection: Connection) -> list[Finding]:
    halves = await standings(connection)
    try:
        steps = await pending_steps(connection, halves)
    except SchemaMismatch as error:
        found = [_mismatch_finding(error)]
        steps = []
    else:
        found = step_findings(steps)
    if any(step.deed is Deed.RUN for step in steps):
        return found
    for standing in halves:
        found += [finding for finding in _half_findings(standing) if finding not in found]
    return found + row_findings(await contradictions(connection))


def _half_findings(standing: Standing) -> list[Finding]:
    try:
        newest = standing.ahead
    except SchemaMismatch as error:
        return [_mismatch_finding(error)]
    if newest is not None:
        return [_ahead_finding(standing.half, newest)]
    return drift_findings(standing.drift(), migrations(standing.half)) if standing.installed else []


def _mismatch_finding(error: SchemaMismatch) -> Finding:
    return Finding(Severity.ERROR, error.what, error.why or "", error.fix or "")


def _ahead_finding(half: Half, version: str) -> Finding:
    return Finding(
        Severity.NOTE,
        f"the schema's {half} half is ahead of this release, at {version}",
        "newer releases have added to it; this one can work with it, but not tell its drift",
        "Upgrade this installation; doctor of the newer release compares the schema.",
    )


_DEAF = Finding(
    Severity.ERROR,
    "no notification arrives",
    "LISTEN was accepted but nothing is delivered, as behind a pooler in transaction mode",
    "Use a direct connection or a pooler in session mode (on Supabase port 5432, not 6543).",
)


def _owner_findings(owners: Sequence[str]) -> list[Finding]:
    found = [
        Finding(
            Severity.WARNING,
            f"the schema is owned by {role}",
            "that role could then change the schema, and its grants mean nothing",
            "Let a role of its own migrate and own the schema.",
        )
        for role in sorted(set(owners) & set(ROLES))
    ]
    if len(owners) > 1:
        found.append(
            Finding(
                Severity.ERROR,
                f"the schema has several owners: {', '.join(owners)}",
                "the functions run with their owner's rights, and need all of the tables",
                "alter … owner to one of them.",
            )
        )
    return found


def _load_findings(health: SchemaHealth) -> list[Finding]:
    found = []
    if health.notification_queue_usage > _QUEUE_WARNING:
        found.append(
            Finding(
                Severity.ERROR,
                f"the notification queue is {health.notification_queue_usage:.0%} full",
                "some session has listened and stayed in one transaction; at 100% every NOTIFY"
                " fails, and with it every handoff",
                "Find it: select pid, xact_start from pg_stat_activity order by xact_start; then"
                " pg_terminate_backend(pid).",
            )
        )
    if health.prepared_transactions:
        found.append(
            Finding(
                Severity.WARNING,
                f"{health.prepared_transactions} prepared transactions are open",
                "they keep their locks, and vacuum from its work, until somebody ends them",
                "See pg_prepared_xacts; commit prepared or rollback prepared those left behind.",
            )
        )
    if health.idle_session_timeout:
        found.append(
            Finding(
                Severity.WARNING,
                f"idle_session_timeout is {health.idle_session_timeout.total_seconds():g} s",
                "the server ends listeners that hear nothing for that long; each must reconnect",
                "alter role … set idle_session_timeout = 0, for the daemon's and agents' roles.",
            )
        )
    return found
