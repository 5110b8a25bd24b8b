"""A browser's part in the tests of the dashboard: cookies, and pages that lead on to others."""

from __future__ import annotations

import html
import re
from http.client import HTTPConnection
from urllib.parse import urlsplit

TOKEN = "right-token"


class Client:
    """Asks as a browser would; `ask` gives status, headers and body."""

    def __init__(self, port: int) -> None:
        self.port, self.cookie = port, ""

    def ask(self, path: str, method: str = "GET", body: str | None = None, **headers: str):
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            if self.cookie:
                names["Cookie"] = self.cookie
            # not `request`: it would tell which compression it takes, as browsers do and plain curl does not
            connection.putrequest(method, path, skip_host="Host" in names, skip_accept_encoding=True)
            if body is not None:
                names["Content-Length"] = str(len(body.encode()))
            for name, value in names.items():
                connection.putheader(name, value)
            connection.endheaders(None if body is None else body.encode())
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()


def come_in(client: Client, address: str) -> str:
    """Follow the printed address; returns the page's path."""
    parts = urlsplit(address)
    status, headers, body = client.ask(f"{parts.path}?{parts.query}")
    assert status == 200 and TOKEN.encode() not in body
    cookie, *flags = headers["Set-Cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Strict"} <= set(flags)
    client.cookie = cookie
    return led_to(body)


def led_to(body: bytes) -> str:
    """Where a page sends the browser."""
    found = re.search(r'http-equiv="refresh" content="0;url=([^"]*)"', body.decode())
    assert found is not None
    return html.unescape(found[1])
