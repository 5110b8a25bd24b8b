"""Who may look at a dashboard: loopback is no private place on a node that others use too."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode

COOKIE = "hpopt_dashboard"
LOCAL = ("127.0.0.1", "localhost", "[::1]")

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

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        def refuse(status: str, text: str, *headers: tuple[str, str]) -> list[bytes]:
            start_response(status, [("Content-Type", "text/plain; charset=utf-8"), *headers])
            return [f"{text}\n".encode()]

        host = environ.get("HTTP_HOST", "")
        # a page of another site can make its own name mean 127.0.0.1, but not what the browser calls it
        if host.rpartition(":")[0] not in LOCAL and host not in LOCAL:
            return refuse("403 Forbidden", "hpopt: this dashboard answers to 127.0.0.1 and localhost only")
        if self.token is not None:
            query = parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)
            given = dict(query).get("token")
            if given is not None and self._is_right(given):
                rest = urlencode([(k, v) for k, v in query if k != "token"])
                place = (environ.get("PATH_INFO") or "/") + (f"?{rest}" if rest else "")
                # two slashes at the beginning would name another host
                return refuse(
                    "303 See Other",
                    "come in",
                    ("Location", f"/{place.lstrip('/')}"),
                    ("Set-Cookie", f"{COOKIE}={self.token}; HttpOnly; SameSite=Strict; Path=/"),
                )
            if not self._is_right(_cookie(environ)):
                return refuse(
                    "401 Unauthorized", "hpopt: open the whole address that hpopt dashboard printed"
                )
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD", "OPTIONS"):
            if self.read_only:
                return refuse("403 Forbidden", "hpopt: this dashboard was started with --read-only")
            origin = environ.get("HTTP_ORIGIN")
            if origin is not None and origin.partition("://")[2] != host:
                return refuse("403 Forbidden", "hpopt: asked for by another site")
        # optuna-dashboard 0.21 fails on clients that do not say which compression they take
        environ.setdefault("HTTP_ACCEPT_ENCODING", "identity")
        return self.application(environ, start_response)

    def _is_right(self, given: str | None) -> bool:
        return given is not None and hmac.compare_digest(given.encode(), str(self.token).encode())


def _cookie(environ: dict[str, Any]) -> str | None:
    try:
        morsel = SimpleCookie(environ.get("HTTP_COOKIE", "")).get(COOKIE)
    except CookieError:
        return None
    return morsel.value if morsel is not None else None
