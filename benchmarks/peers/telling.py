"""How a peer's program speaks with the benchmark: a command, then a line of JSON on stdout.

    install            make the schema
    enqueue COUNT      add so many jobs that do nothing, in the fastest way that is documented
    send COUNT EVERY   add so many one by one, one each EVERY seconds; each holds when it was sent
    work COUNT SETTING work, say {"ready": true} and, once so many handlers were entered, when the
                       first and the last one was, how much processor time was used before the
                       first, and how old the sent ones were; until SIGTERM

Times are those of the system's monotonic clock in seconds, which all processes share.
"""

import json
import time
from collections.abc import Mapping


def say(line: Mapping[str, object]) -> None:
    """Tell the benchmark."""
    print(json.dumps(line), flush=True)


def sent_now() -> dict[str, float]:
    """Make what a job that is sent alone holds."""
    return {"sent": time.monotonic()}


class Entries:
    """The handlers that were entered; tells of them once all were."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._first = 0.0
        self._cpu = 0.0
        self._entered = 0
        self._ms: list[float] = []

    def note(self, held: Mapping[str, float]) -> None:
        """A handler has been entered with what its job holds."""
        now = time.monotonic()
        if not self._entered:
            self._first, self._cpu = now, time.process_time()
        self._entered += 1
        if "sent" in held:
            self._ms.append(1000 * (now - held["sent"]))
        if self._entered == self._count:
            say({"first": self._first, "last": now, "cpu": self._cpu, "ms": self._ms})
