"""Whether the addresses of a data set answer, without downloading anything."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request

import hpopt_lib
from hpopt_lib.data.catalogue import RemoteFile, format_size
from hpopt_lib.data.exchange import without_query


def probe(file: RemoteFile, *, timeout_s: float = 20.0) -> list[str]:
    """Ask every address of a file for its headers (HTTP ``HEAD``).

    Returns
    -------
    list of str
        A line for each address: what it answers, and whether that fits the published size.
    """
    return [f"{without_query(address)}: {_answer(address, file, timeout_s)}" for address in file.addresses]


def _answer(address: str, file: RemoteFile, timeout_s: float) -> str:
    request = urllib.request.Request(
        address, method="HEAD", headers={"User-Agent": f"hpopt/{hpopt_lib.__version__}"}
    )
    try:
        with urllib.request.build_opener().open(request, timeout=timeout_s) as response:
            text = response.headers.get("Content-Length", "")
            kind = response.headers.get_content_type()
    except urllib.error.HTTPError as error:
        error.close()
        return f"answers {error.code} {error.reason}"
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        return f"does not answer ({getattr(error, 'reason', error)})"
    if kind == "text/html":
        return "answers with a web page instead of the file"
    if not text.isdigit():
        return "answers, without a length"
    if file.size is None:
        return f"answers, {format_size(int(text))}"
    fits = "as published" if file.size.fits(int(text)) else f"but published are {format_size(file.size)}"
    return f"answers, {format_size(int(text))}, {fits}"
