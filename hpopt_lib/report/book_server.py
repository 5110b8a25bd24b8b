"""The live view: serve the built book on this machine and rebuild what changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from hpopt_lib.errors import HpoptError
from hpopt_lib.progress import say
from hpopt_lib.report.book import build_book, html_folder
from hpopt_lib.report.freshness import INPUTS, LIBRARY
from hpopt_lib.report.rendering import STAGED

#: Seconds between two looks at the sources.
POLL_INTERVAL_S = 1.0

_WATCHED = tuple(dict.fromkeys((*STAGED, "book", *INPUTS)))

_RELOAD = b"""<script>
(function () {
  var seen = null;
  setInterval(function () {
    fetch("/.version").then(function (r) { return r.text(); }).then(function (v) {
      if (seen !== null && v !== seen) location.reload();
      seen = v;
    }).catch(function () {});
  }, 1000);
})();
</script></body>"""


class LiveHandler(SimpleHTTPRequestHandler):
    """Serves a folder; pages ask ``/.version`` every second and reload when it changes."""

    version = 0

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if self.path == "/.version":
            self._send(str(type(self).version).encode(), "text/plain")
        elif (page := path / "index.html" if path.is_dir() else path).suffix == ".html" and page.is_file():
            self._send(page.read_bytes().replace(b"</body>", _RELOAD), "text/html; charset=utf-8")
        else:
            super().do_GET()

    def _send(self, content: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the terminal is for the builds."""


def serve_book(root: str | Path, *, profile: str, jobs: int = 2, port: int = 8000) -> None:
    """Build the book, show it on 127.0.0.1 and rebuild after every change, until Ctrl-C.

    A complaint of a later build is printed and the pages stay as they were.

    Parameters
    ----------
    root : str or Path
        Root of the repository.
    profile : str
        Name of a file in ``profiles/``.
    jobs : int
        How many chapters are executed side by side.
    port : int
        Port to listen on; 0 takes a free one.

    Raises
    ------
    HpoptError
        When the first build fails or the port is taken.
    """
    root = Path(root).resolve()
    build = partial(build_book, root, profile=profile, jobs=jobs, incremental=True)
    before = snapshot(root)
    build()
    with live_server(html_folder(root, profile), port) as server:
        say(f"serving http://127.0.0.1:{server.server_address[1]}/ (Ctrl-C ends)")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            watch(root, build, before=before)
        except KeyboardInterrupt:
            say("stopped")
        finally:
            server.shutdown()


def live_server(folder: Path, port: int) -> ThreadingHTTPServer:
    """A server of `folder` on the loopback interface only."""
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), partial(LiveHandler, directory=str(folder)))
    except OSError as error:
        raise HpoptError(f"port {port}: {error.strerror}", remedy="choose another with --port") from error


def watch(
    root: Path, build: Callable[[], object], *, before: dict[str, int], rounds: int | None = None
) -> None:
    """Call `build` whenever a source differs from the snapshot `before`; look `rounds` times, or for ever."""
    while rounds is None or rounds > 0:
        time.sleep(POLL_INTERVAL_S)
        rounds = None if rounds is None else rounds - 1
        now = snapshot(root)
        changed = sorted(name for name in now.keys() | before.keys() if now.get(name) != before.get(name))
        if not changed:
            continue
        before = now
        say(f"changed: {', '.join(changed[:5])}{' …' if len(changed) > 5 else ''}")
        try:
            build()
        except HpoptError as error:
            say(f"error: {error}")
        else:
            LiveHandler.version += 1


def snapshot(root: Path) -> dict[str, int]:
    """Modification time of every source of the book, by path below `root`."""
    return {
        (path.relative_to(root) if path.is_relative_to(root) else path).as_posix(): path.stat().st_mtime_ns
        for path in _sources(root)
    }


def _sources(root: Path) -> Iterator[Path]:
    for top in (LIBRARY, *(root / name for name in _WATCHED)):
        for path in [top] if top.is_file() else top.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".ipynb":
                yield path
