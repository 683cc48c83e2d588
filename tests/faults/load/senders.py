"""Senders that hand off at a rate, each in a way of its own: `… '<SenderOrders>'`.

SIGTERM lets them resolve what they have begun to send, however long that takes, and ends with 0.
"""

import signal
import sys


def run() -> None:
    """Send until SIGTERM."""
    # What is imported takes long, and until then nothing is begun.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    import anyio

    from tests.faults.load.orders import SenderOrders
    from tests.faults.load.sending import main

    anyio.run(main, SenderOrders.given())


if __name__ == "__main__":
    run()
