"""A link between a worker and a server: a loopback port to its Unix socket that can be cut, frozen or slowed."""

from __future__ import annotations

import socket
import struct
import time
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock, Thread

AT_ONCE = struct.pack("ii", 1, 0)  # closed so, a connection is reset


class Link:
    """Passes bytes on until told otherwise; safe to change from any thread."""

    def __init__(self, upstream: Path) -> None:
        self._upstream = str(upstream)
        self._lock = Lock()
        self._open: set[socket.socket] = set()
        self._flowing = Event()
        self._flowing.set()
        self._is_cut = False
        self._delay_s = 0.0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        Thread(target=self._accept, name=f"link {self.port}", daemon=True).start()

    def cut(self) -> None:
        """Reset every connection, and each new one at once."""
        self._is_cut = True
        self.reset()

    def reset(self) -> None:
        """Reset every connection."""
        with self._lock:
            doomed, self._open = self._open, set()
        for each in doomed:
            _reset(each)

    def slow(self, seconds: float) -> None:
        """Hold whatever passes back for so long."""
        self._delay_s = seconds

    def freeze(self) -> None:
        """Pass nothing on and say nothing, as a network does that drops every packet."""
        self._flowing.clear()

    def heal(self) -> None:
        """Pass everything on again."""
        self._is_cut = False
        self._delay_s = 0.0
        self._flowing.set()

    def close(self) -> None:
        """End it."""
        self._listener.close()
        self.cut()
        self._flowing.set()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        self._flowing.wait()
        server = self._reach()
        if server is None:
            _reset(client)
            return
        with self._lock:
            self._open |= {client, server}
        if self._is_cut:
            self.reset()
        Thread(target=self._pump, args=(client, server), daemon=True).start()
        self._pump(server, client)

    def _reach(self) -> socket.socket | None:
        server = socket.socket(socket.AF_UNIX)
        try:
            if not self._is_cut:
                server.connect(self._upstream)
                return server
        except OSError:
            pass
        server.close()
        return None

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                time.sleep(self._delay_s)
                self._flowing.wait()
                target.sendall(data)
        with self._lock:
            self._open -= {source, target}
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            if source is each:
                each.close()


def _reset(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        connection.shutdown(socket.SHUT_RD)
    connection.close()
