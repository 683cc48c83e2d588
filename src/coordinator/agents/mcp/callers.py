"""Whether a hook is of our session, or of another client's.

A session's shell may run a second client, which has the same hooks and no server of its own. Its
end is not the end of our session, and at its rest ours may be at work.

On Linux our client is the program that started this server, and its hooks are those that it calls
itself; what is called further below is another's. Where that does not tell (a launcher between
client and server, a server over HTTP, macOS), the session whose hook comes first is ours, by the id
that its client gives it, until it ends or another one begins. A session without an id is believed.
"""

from coordinator.waking.programs import Program
from coordinator.waking.words import Origin


class Callers:
    """Knows the hooks of our session."""

    def __init__(self, client: Program | None) -> None:
        self._client = client
        """What started this server; None where it serves whoever comes, or where nobody knows."""
        self._session: Origin | None = None

    def is_our_client(self, origin: Origin) -> bool:
        """Whether our client itself has called, for all that the kernel says."""
        return self._client is not None and origin.caller == self._client

    def admit(self, origin: Origin) -> bool:
        """Say whether a hook is of our session; note which session that is."""
        if not self._is_ours(origin):
            return False
        self._session = None if origin.ends else origin
        return True

    def _is_ours(self, origin: Origin) -> bool:
        if self.is_our_client(origin):
            return True
        known = self._session
        if {self._client, known and known.caller} & set(origin.callers[1:]):
            return False
        if known is None or origin.begins or None in (origin.session, known.session):
            return True
        if origin.session == known.session or (known.caller and origin.caller == known.caller):
            return True
        return known.caller is not None and not known.caller.runs
