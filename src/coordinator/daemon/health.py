"""The health socket: what probes, scrapers and people may ask the daemon.

/livez     do the loops make progress? It never asks the database: restarting would not mend it.
/readyz    does this daemon do its work, as leader or standby?
/startupz  is the start over?
/metrics   the counters, for Prometheus
/status    the snapshot, as JSON
`?verbose` on /livez and /readyz lists every check. All answers come from memory.
"""

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

import anyio
from anyio.abc import SocketListener, SocketStream, TaskGroup, TaskStatus

from coordinator.daemon.addresses import Address, bound_address, listening
from coordinator.daemon.health_state import Health
from coordinator.daemon.http import Answer, Limits, Request, answer_one_request
from coordinator.daemon.places import Places
from coordinator.daemon.progress import Progress

_PROMETHEUS_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_ACCEPT_PAUSE_S = 0.1
_KEPT_S = 0.1


async def serve_health(
    addresses: Sequence[Address],
    health: Health,
    progress: Progress,
    metrics: Callable[[], bytes],
    *,
    facts: Callable[[], Mapping[str, object]] = dict,
    limits: Limits | None = None,
    task_status: TaskStatus[list[Address]] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Answer on every address until cancelled; `started` reports where it really listens.

    `metrics` returns the Prometheus text and `facts` more entries of /status; they must not wait.
    `limits` hold for each listener.
    Raises ConfigError if an address cannot be had.
    """
    limits = limits or Limits()
    answers = _Answers(health, progress, _Kept(metrics), facts)
    async with AsyncExitStack() as stack:
        listeners = [
            listener
            for address in addresses
            for listener in await stack.enter_async_context(listening(address))
        ]
        async with anyio.create_task_group() as connections:
            for listener in listeners:
                connections.start_soon(_accept, listener, answers, limits, connections)
            task_status.started([bound_address(listener) for listener in listeners])


async def _accept(
    listener: SocketListener, answers: "_Answers", limits: Limits, connections: TaskGroup
) -> None:
    places = Places(limits)

    async def serve(stream: SocketStream) -> None:
        async with stream:
            with places.taken_by(stream):
                await answer_one_request(stream, answers.respond, limits)

    while True:
        try:
            stream = await listener.accept()
        except OSError:
            # accept(2) reports a client that has gone, and a lack of file descriptors, in the
            # same way; both pass, and neither may end the daemon.
            await anyio.sleep(_ACCEPT_PAUSE_S)
        else:
            async with _closed_unless_served(stream):
                await places.wait()
                connections.start_soon(serve, stream)


@asynccontextmanager
async def _closed_unless_served(stream: SocketStream) -> AsyncIterator[None]:
    try:
        yield
    except BaseException:
        await anyio.aclose_forcefully(stream)
        raise


@dataclass(slots=True)
class _Kept:
    """An answer that is dear to make: it is made anew after a tenth of a second at the earliest."""

    make: Callable[[], bytes]
    _made: bytes = b""
    _made_at: float = -_KEPT_S

    def __call__(self) -> bytes:
        now = anyio.current_time()
        if now - self._made_at >= _KEPT_S:
            self._made, self._made_at = self.make(), now
        return self._made


@dataclass(frozen=True, slots=True)
class _Answers:
    health: Health
    progress: Progress
    metrics: Callable[[], bytes]
    facts: Callable[[], Mapping[str, object]]

    def respond(self, request: Request) -> Answer:
        verbose = "verbose" in request.options
        match request.path:
            case "/livez":
                return self._livez(verbose=verbose)
            case "/readyz":
                return self._readyz(verbose=verbose)
            case "/startupz":
                started = self.health.now.started
                return _verdict(started, "started" if started else "starting")
            case "/metrics":
                return Answer(HTTPStatus.OK, self.metrics(), _PROMETHEUS_TEXT)
            case "/status":
                body = json.dumps(self._status(), indent=2).encode() + b"\n"
                return Answer(HTTPStatus.OK, body, "application/json")
            case _:
                paths = "/livez /readyz /startupz /metrics /status"
                return Answer(HTTPStatus.NOT_FOUND, f"Not Found. There are: {paths}\n".encode())

    def _livez(self, *, verbose: bool) -> Answer:
        stalled = self.progress.stalled()
        lines = [f"stalled: {', '.join(stalled)}" if stalled else "ok"]
        if verbose:
            lines += [
                f"[{_sign(not each.too_long)}] {each.loop}: "
                f"{each.lasted.total_seconds():.1f} s without progress, "
                f"{each.allowed.total_seconds():g} s allowed"
                for each in self.progress.silences()
            ]
        return _verdict(not stalled, *lines)

    def _readyz(self, *, verbose: bool) -> Answer:
        now = self.health.now
        missing = [check.reason for check in now.checks if not check.holds]
        lines = [f"not ready: {', '.join(missing)}" if missing else f"ok: {now.role}"]
        if verbose:
            lines += [f"[{_sign(check.holds)}] {check.name}" for check in now.checks]
        return _verdict(not missing, *lines)

    def _status(self) -> dict[str, object]:
        state, clock = self.health.now, anyio.current_time()
        return {
            "version": state.version,
            "uptime_s": round(clock - state.started_at, 3),
            "role": state.role,
            "term": state.term,
            "ready": all(check.holds for check in state.checks),
            "schema_ok": state.schema_ok,
            "listener_up": state.listener_up,
            "trouble": state.trouble,
            "first_scan_done": state.first_scan_done,
            "draining": state.draining,
            "stalled": self.progress.stalled(),
            "last_pass_ago_s": {
                name: round(clock - at, 3) for name, at in sorted(state.last_pass_at.items())
            },
            "counters": dict(state.counters),
            **self.facts(),
        }


def _verdict(good: bool, *lines: str) -> Answer:
    status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
    return Answer(status, "".join(f"{line}\n" for line in lines).encode())


def _sign(good: bool) -> str:
    return "+" if good else "-"
