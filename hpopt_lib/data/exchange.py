"""One HTTP request for a file or its rest: what may be appended, and what each failure means."""

from __future__ import annotations

import http.client
import re
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

import hpopt_lib
from hpopt_lib.data.catalogue import Size
from hpopt_lib.data.partial import Part
from hpopt_lib.errors import HpoptError
from hpopt_lib.progress import byte_progress

READ_BYTES = 1 << 18
#: Answers after which waiting helps.
BUSY = (408, 425, 429, 500, 502, 503, 504)


class AddressFailed(HpoptError):
    """The file cannot be had from this address; another one may have it."""


class PassingFailure(Exception):
    """A failure after which the same request may succeed.

    Attributes
    ----------
    answered : bool
        Whether there was a server at all.
    wait_s : float
        How long the server asks to wait.
    """

    def __init__(self, reason: str, *, answered: bool = True, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.answered, self.wait_s = answered, wait_s


def without_query(address: str) -> str:
    """An address as it may be shown and stored: what follows the question mark can be a key."""
    return urlsplit(address)._replace(query="", fragment="").geturl()


def receive(address: str, part: Part, *, size: Size | None, timeout_s: float) -> int | None:
    """Ask for a file, or for the rest of it, and append what comes.

    Parameters
    ----------
    address : str
    part : Part
        What is there already; it is thrown away when it belongs to another file.
    size : Size or None
        Published size.
    timeout_s : float
        Silence after which the connection counts as dead.

    Returns
    -------
    int or None
        The length that the server promised and kept, in bytes; None when it promised none.

    Raises
    ------
    AddressFailed, PassingFailure
    """
    start = part.n_bytes if part.can_continue(without_query(address)) else 0
    request = urllib.request.Request(address, headers=_headers(address, part, start))
    try:
        # a new one each time: it reads the proxies from the environment
        with urllib.request.build_opener().open(request, timeout=timeout_s) as response:
            if response.status == 206:
                length = _check_rest(response, part, start, address)
            else:
                start, length = 0, _length(response)
                _check_new(response, part, size, length, address)
                part.begin(without_query(address), response.headers, length)
            part.check_room(_promised(length, size))
            part.catch_up()
            _append(response, part, start, _promised(length, size), address)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 416 or (length := _complete(error, part)) is None:
            _refused(error, part, address)
        part.catch_up()
    except (http.client.HTTPException, OSError) as error:
        _broken(error, address)
    promised = _promised(length, size)
    if promised is not None and part.n_bytes != promised:
        raise PassingFailure(f"the connection ended after {part.n_bytes} of {promised} bytes")
    return length


def _headers(address: str, part: Part, start: int) -> dict[str, str]:
    headers = {"User-Agent": f"hpopt/{hpopt_lib.__version__}"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if part.known.get("address") == without_query(address) and part.validator():
            headers["If-Range"] = part.validator()
    return headers


def _promised(length: int | None, size: Size | None) -> int | None:
    """Bytes of the whole file, by the server or else by the catalogue."""
    if length is None and size is not None and size.exact:
        return size.n_bytes
    return length


def _append(
    response: http.client.HTTPResponse, part: Part, start: int, limit: int | None, address: str
) -> None:
    """Store what comes, and hash it on the way."""
    with part.appending() as write, byte_progress(part.path.stem, total=limit, done=start) as advance:
        # read1 gives what is there: read would lose it when the connection breaks in between
        while data := response.read1(READ_BYTES):
            write(data)
            advance(len(data))
            if limit is not None and part.checksums.n_bytes > limit:
                part.discard()
                raise AddressFailed(
                    f"{without_query(address)}: sends more than {limit} bytes",
                    remedy="it is another file; try another address (--from)",
                )


def _length(response: http.client.HTTPResponse) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isdigit() and not response.headers.get("Transfer-Encoding") else None


def _check_new(
    response: http.client.HTTPResponse, part: Part, size: Size | None, length: int | None, address: str
) -> None:
    """Refuse what cannot be the file, before any of it is stored."""
    shown = without_query(address)
    if response.status != 200 or length == 0:
        raise AddressFailed(
            f"{shown}: answers {response.status} with nothing in it", remedy="try another address (--from)"
        )
    if response.headers.get_content_type() == "text/html" and Path(part.path.stem).suffix not in (
        ".html",
        ".htm",
    ):
        raise AddressFailed(
            f"{shown}: answers with a web page instead of the file",
            remedy="open it in a browser: it may have moved, or your network asks for a login",
        )
    if size is not None and length is not None and not size.fits(length):
        raise AddressFailed(
            f"{shown}: has {length} bytes, published are {size.published or size.n_bytes}",
            remedy="it is another file; try another address (--from)",
        )


def _check_rest(response: http.client.HTTPResponse, part: Part, start: int, address: str) -> int | None:
    """Check that the rest belongs to what is there; return the length of the whole file."""
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    known = part.known
    changed = match is None or start == 0 or int(match[1]) != start
    if match and known.get("length") and match[2] != "*":
        changed = changed or match[2] != known["length"]
    if known.get("address") == without_query(address):
        for name in ("ETag", "Last-Modified"):
            now = response.headers.get(name, "")
            changed = changed or bool(now and known.get(name.lower()) and now != known[name.lower()])
    if match is None or changed:
        part.discard()
        raise PassingFailure("the file has changed, it starts again")
    return int(match[2]) if match[2] != "*" else None


def _complete(error: urllib.error.HTTPError, part: Part) -> int | None:
    """The length, when there is nothing left to send because all has come."""
    match = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
    return int(match[1]) if match and int(match[1]) == part.n_bytes else None


def _refused(error: urllib.error.HTTPError, part: Part, address: str) -> NoReturn:
    if error.code == 416:
        part.discard()
        raise PassingFailure("the file is shorter than what has come, it starts again") from error
    if error.code in BUSY:
        wait = error.headers.get("Retry-After", "")
        raise PassingFailure(
            f"the server answers {error.code} {error.reason}", wait_s=float(wait) if wait.isdigit() else 0.0
        ) from error
    raise AddressFailed(
        f"{without_query(address)}: the server answers {error.code} {error.reason}",
        remedy="it may have moved: see its homepage in hpopt data list NAME, or use --from",
    ) from error


def _broken(error: Exception, address: str) -> NoReturn:
    # urllib wraps what fails before the request is sent
    connected = not isinstance(error, urllib.error.URLError)
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        raise AddressFailed(
            f"{without_query(address)}: its certificate cannot be verified: {reason.verify_message}",
            remedy="set SSL_CERT_FILE to your network's certificates",
        ) from error
    if isinstance(reason, TimeoutError):
        raise PassingFailure("nothing came for too long", answered=connected) from error
    text = str(reason) or type(reason).__name__
    raise PassingFailure(f"the connection broke ({text})", answered=connected) from error
