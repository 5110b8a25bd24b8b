"""Who may look at a dashboard: loopback is no private place on a node that others use too."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable
from html import escape
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

LOCAL = ("127.0.0.1", "localhost", "[::1]")
READING = ("GET", "HEAD", "OPTIONS")
#: For every answer. Buttons must not be pressed through an invisible frame on somebody else's page.
HEADERS = [
    ("X-Frame-Options", "SAMEORIGIN"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
]
#: For artifacts: whoever can add one to a study could else run a script here in its reader's name.
SANDBOX = ("Content-Security-Policy", "sandbox")

_DOOR = """<!doctype html><html lang="en"><meta charset="utf-8"><title>hpopt dashboard</title>
<meta http-equiv="refresh" content="0;url={0}"><p><a href="{0}">Go to the dashboard</a></p></html>
"""

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Guard:
    """A WSGI application around optuna-dashboard, which has no authentication of its own.

    Without it anybody on the node could read, change and delete the studies. The token comes once
    in the address; the browser then keeps it in a cookie that scripts and other sites do not get.

    Parameters
    ----------
    application : callable
        A WSGI application.
    token : str or None
        What a browser must know; None lets everybody in.
    read_only : bool
        Refuse everything that changes a study.
    """

    def __init__(self, application: Application, *, token: str | None, read_only: bool = False) -> None:
        self.application, self.token, self.read_only = application, token, read_only
        # browsers keep one set of cookies for all ports: dashboards must not overwrite each other's
        self.cookie = f"hpopt_{hashlib.sha256((token or '').encode()).hexdigest()[:12]}"

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        method, place = environ["REQUEST_METHOD"], environ.get("PATH_INFO") or "/"

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            extra = [*HEADERS, SANDBOX] if place.startswith("/artifacts/") else HEADERS
            return start_response(status, [*headers, *extra], *more)

        def refuse(status: str, text: str) -> list[bytes]:
            start(status, [("Content-Type", "text/plain; charset=utf-8")])
            return [f"hpopt: {text}\n".encode()]

        host = environ.get("HTTP_HOST", "")
        # a page of another site can make its own name mean 127.0.0.1, but not what the browser calls it
        if host.rpartition(":")[0] not in LOCAL and host not in LOCAL:
            return refuse("403 Forbidden", "this dashboard answers to 127.0.0.1 and localhost only")
        if self.token is not None:
            query = parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)
            if self._is_right(dict(query).get("token")):
                return self._let_in(place, [(k, v) for k, v in query if k != "token"], start)
            if not self._is_right(_cookie(environ, self.cookie)):
                return refuse("401 Unauthorized", "open the whole address that hpopt dashboard printed")
        if method not in READING:
            if self.read_only:
                return refuse("403 Forbidden", "this dashboard was started with --read-only")
            origin = environ.get("HTTP_ORIGIN")
            here = origin is None or origin.partition("://")[2] == host
            if not here or environ.get("HTTP_SEC_FETCH_SITE", "none") not in ("same-origin", "none"):
                return refuse("403 Forbidden", "asked for by another site")
        # optuna-dashboard 0.21 fails on clients that do not say which compression they take
        environ.setdefault("HTTP_ACCEPT_ENCODING", "identity")
        return self.application(environ, start)

    def _let_in(self, place: str, query: list[tuple[str, str]], start: Callable[..., Any]) -> Iterable[bytes]:
        """Hand out the cookie and lead to the address without the token.

        By a page and not by a redirection: after a link in a mail or a web terminal the browser
        would not send the cookie with the redirected request (SameSite=Strict).
        """
        # two slashes at the beginning, or a backslash, would name another host
        target = "/" + quote(place.encode("latin-1")).lstrip("/")
        if query:
            target += f"?{urlencode(query)}"
        start(
            "200 OK",
            [
                ("Content-Type", "text/html; charset=utf-8"),
                ("Cache-Control", "no-store"),
                ("Set-Cookie", f"{self.cookie}={self.token}; HttpOnly; SameSite=Strict; Path=/"),
            ],
        )
        return [_DOOR.format(escape(target)).encode()]

    def _is_right(self, given: str | None) -> bool:
        return given is not None and hmac.compare_digest(given.encode(), str(self.token).encode())


def _cookie(environ: dict[str, Any], name: str) -> str | None:
    # not http.cookies: it stops at the first odd cookie, and Jupyter, on another port, sets such ones
    pairs = (entry.strip().partition("=") for entry in environ.get("HTTP_COOKIE", "").split(";"))
    return next((value for key, _, value in pairs if key == name), None)
