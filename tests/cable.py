"""A cable to a server on this machine that a test can cut, and mend again."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Final

_CHUNK: Final = 65536


class Cable:
    """Passes on what comes in at ``port`` to another port of 127.0.0.1, until it is cut.

    Cut, it refuses connections, and those that there were end.
    """

    def __init__(self, to: int) -> None:
        self._to = to
        self._ends: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._start()

    def cut(self) -> None:
        """Cut it."""
        # Closed alone, the socket would listen on as long as a thread waits in it.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            ends, self._ends = self._ends, set()
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Mend it."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._start()

    def _start(self) -> None:
        threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()

    def _serve(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._to))
                except OSError:
                    near.close()
                    continue
                with self._lock:
                    self._ends |= {near, far}
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=ends, daemon=True).start()

    def _pass(self, of: socket.socket, to: socket.socket) -> None:
        with suppress(OSError):
            while data := of.recv(_CHUNK):
                to.sendall(data)
        for end in (of, to):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        of.close()
        with self._lock:
            self._ends.discard(of)
