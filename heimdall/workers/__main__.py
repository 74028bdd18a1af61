"""A worker: ``python -m heimdall.workers``, as its parent starts it, with the channel as descriptor 3."""

from __future__ import annotations

import signal
import socket
import time
from contextlib import suppress
from typing import Any, cast

from heimdall import signals
from heimdall.workers import PARENTS

CHANNEL = 3
"""The descriptor of our end of the channel."""


def main() -> None:
    """Serve until the parent says that it is enough, or is gone."""
    # A signal to the whole group is for the parent to heed, which tells us.
    signals.ignore(*PARENTS)

    from twisted.internet import reactor as installed
    from twisted.internet.error import ReactorNotRunning
    from twisted.internet.protocol import Factory
    from twisted.logger import ILogObserver, globalLogBeginner

    from heimdall.workers.duty import Duty

    reactor: Any = installed
    reactor.seconds = time.monotonic  # as in the parent: the wall clock may leap

    def stop() -> None:
        with suppress(ReactorNotRunning):
            reactor.stop()

    duty = Duty(reactor, stop)
    globalLogBeginner.beginLoggingTo([cast(ILogObserver, duty.log)], redirectStandardIO=False, discardBuffer=True)
    reactor.adoptStreamConnection(CHANNEL, socket.AF_UNIX, Factory.forProtocol(lambda: duty.channel))
    socket.close(CHANNEL)

    # The reactor sets its own handler when it starts.
    reactor.callWhenRunning(signal.signal, signal.SIGTERM, lambda *_: reactor.callFromThread(duty.end))
    reactor.run()


if __name__ == "__main__":
    main()
