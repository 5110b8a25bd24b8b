"""A web server that does to a download what the internet does: each request takes the next play of a list."""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Site:
    """What the server has, what it will do, and what it was asked.

    Attributes
    ----------
    files : dict of str to bytes
        Content by path.
    plays : list of str
        What happens to the next requests; then all goes well.
    asked : list of tuple
        Path and headers of each request.
    base : str
        Address of the server.
    validators, weak : bool
        Whether ETag and Last-Modified are sent, and whether the former is a weak one.
    """

    def __init__(self, base: str) -> None:
        self.base = base
        self.files: dict[str, bytes] = {}
        self.plays: list[str] = []
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.validators, self.weak = True, False
        self.stalled = threading.Event()
        self.released = threading.Event()

    def put(self, name: str, content: bytes) -> str:
        """Offer a file; return its address."""
        self.files[f"/{name}"] = content
        return f"{self.base}/{name}"

    @property
    def ranges(self) -> list[str]:
        """The header Range of every request, empty where there was none."""
        return [headers.get("Range", "") for _, headers in self.asked]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        site = self.site
        site.asked.append((self.path, dict(self.headers)))
        self.close_connection = True
        play, _, argument = (site.plays.pop(0) if site.plays else "good").partition(" ")
        content = site.files.get(re.sub(r"^http://[^/]+|\?.*", "", self.path))
        if play == "status":
            self._answer(int(argument), b"trouble", {"Retry-After": "7"})
        elif content is None:
            self._answer(404, b"no such file", {})
        elif play == "html":
            self._answer(200, b"<html>please log in</html>", {"Content-Type": "text/html; charset=utf-8"})
        elif play == "moved":
            self._answer(302, b"", {"Location": argument})
        else:
            self._send(content, play, int(argument or 0))

    def _send(self, content: bytes, play: str, number: int) -> None:
        etag = f'{"W/" * self.site.weak}"{hashlib.sha256(content).hexdigest()[:12]}"'
        headers = (
            {"ETag": etag, "Last-Modified": "Wed, 10 Feb 2021 00:00:00 GMT"} if self.site.validators else {}
        )
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if self.headers.get("If-Range", etag) not in (etag, headers.get("Last-Modified")) or play == "whole":
            wanted = None
        if play == "careless":  # sends the rest of whatever it has now
            wanted, headers = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"]), {}
        if wanted and int(wanted[1]) >= len(content):
            self._answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            return
        start = int(wanted[1]) if wanted else 0
        if wanted:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        body = content[start:]
        if play == "chunked":
            self._chunked(body, number)
            return
        headers["Content-Length"] = str(len(body) + (number if play == "promise" else 0))
        if play == "nolength":
            del headers["Content-Length"]
        sent = body[:number] if play in ("cut", "stall", "reset") or (play == "nolength" and number) else body
        self._answer(206 if wanted else 200, sent, headers)
        if play == "stall":
            self.wfile.flush()
            self.site.stalled.set()
            self.site.released.wait(20)
        if play == "reset":
            self.wfile.flush()
            # closing with unsent data thrown away sends RST
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def _chunked(self, body: bytes, sent: int) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        body = body[:sent] if sent else body
        self.wfile.write(f"{len(body):x}\r\n".encode() + body + b"\r\n")
        if not sent:
            self.wfile.write(b"0\r\n\r\n")

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status not in (200, 206):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is part of the play."""


@contextmanager
def serving() -> Iterator[Site]:
    """A server on this computer for the time of the block."""
    server = _Server(("127.0.0.1", 0), _Handler)
    site = Site(f"http://127.0.0.1:{server.server_address[1]}")
    server.RequestHandlerClass = type("Handler", (_Handler,), {"site": site})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.released.set()
        server.shutdown()
        with contextlib.suppress(OSError):
            server.server_close()
        thread.join()
