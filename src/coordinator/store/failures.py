"""What PostgreSQL and asyncpg raise, translated: time must pass, or the caller must act.

asyncpg raises InterfaceError both for a backend lost in mid-transaction and for misuse; only the
state of the connection tells them apart. A failover raises InternalClientError, which derives from
Exception alone. Everything else is a defect and flies.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import asyncpg

from coordinator.core.errors import ConfigError, RequestRefused, StoreUnavailable

_TIME_MUST_PASS = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InternalClientError,
    # The server's own trouble, such as a disk too full to write what each new session needs.
    asyncpg.InternalServerError,
    # A migration has just changed what a statement was prepared for, or what a function returns
    # that was called before and waited for it; the same call is answered when it is repeated.
    asyncpg.InvalidCachedStatementError,
    asyncpg.InvalidFunctionDefinitionError,
    asyncpg.DatatypeMismatchError,
)
_CALLER_MUST_ACT = (
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.DataError,
    asyncpg.InsufficientPrivilegeError,
    # A trigger of the user's own, on our tables or on what ours write to.
    asyncpg.RaiseError,
)
_POOLED = (asyncpg.DuplicatePreparedStatementError, asyncpg.InvalidSQLStatementNameError)
_REFUSALS = "ZH"
_UNDEFINED = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedFunctionError,
    asyncpg.InvalidSchemaNameError,
)


@contextmanager
def translated(is_lost: Callable[[], bool]) -> Iterator[None]:
    """Raise StoreUnavailable, RequestRefused or ConfigError for what the database says inside.

    `is_lost` tells whether the connection has gone.
    """
    try:
        yield
    except asyncpg.InterfaceError as error:
        if not is_lost():
            raise
        raise StoreUnavailable("the connection to the database was lost", str(error)) from error
    except _TIME_MUST_PASS as error:
        raise StoreUnavailable("the database cannot answer now", _words(error)) from error
    except _POOLED as error:
        raise ConfigError(
            "a pooler in transaction mode stands before the database",
            f"a prepared statement was not where it had been made ({error})",
            "Connect directly or by a pooler in session mode (Supabase: port 5432, not 6543).",
        ) from error
    except _UNDEFINED as error:
        raise RequestRefused(
            error.sqlstate or "",
            "the coordinator's schema is missing or incomplete in this database",
            _words(error),
            "Run coordinator migrate, or check the database's name in the DSN.",
        ) from error
    except _CALLER_MUST_ACT as error:
        raise _refused(error) from error
    except asyncpg.PostgresError as error:
        if not (error.sqlstate or "").startswith(_REFUSALS):
            raise
        raise _refused(error) from error


def _refused(error: asyncpg.PostgresError) -> RequestRefused:
    # Not str(error): that adds DETAIL, which quotes the whole row, task text included.
    what = getattr(error, "message", None) or str(error)
    constraint = getattr(error, "constraint_name", None)
    why = constraint.replace("_", " ") if constraint else None
    return RequestRefused(error.sqlstate or "", what, why, getattr(error, "hint", None))


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
