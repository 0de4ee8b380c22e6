"""A model hub on loopback that answers as the real one does, and programs run against it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any


class Hub:
    """Serves the files of `directory` as `repository` at `revision` and notes what it was asked."""

    def __init__(self, directory: Path, repository: str, revision: str) -> None:
        self.directory, self.repository, self.revision = directory, repository, revision
        self.asked: list[str] = []
        self.url = ""

    def look_up(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for a path."""
        repository, _, rest = path.strip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        self.asked.append(name)
        if repository != self.repository:
            return 401, {"X-Error-Code": "RepoNotFound"}, b""
        if revision != self.revision:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        if not (self.directory / name).is_file():
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": revision}, b""
        body = (self.directory / name).read_bytes()
        return 200, {"X-Repo-Commit": revision, "ETag": f'"{hashlib.sha256(body).hexdigest()}"'}, body


@contextmanager
def serve_hub(directory: Path, repository: str, revision: str) -> Iterator[Hub]:
    """A hub that is there for as long as the block."""
    hub = Hub(directory, repository, revision)

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, with_body: bool) -> None:
            status, headers, body = hub.look_up(self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Keep the test output quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def run_python(code: str, cache: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own, since the hub client reads its environment when it is imported."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**clean, "HF_HOME": str(cache), "HF_HUB_DISABLE_TELEMETRY": "1", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
