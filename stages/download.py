"""Fetches the installer from a signed address, of which no part appears in any message.

urllib, not curl: that would bring ten packages more into the builder, for an address that few builds pass.
Standard library only.
"""

from __future__ import annotations

import base64
import http.client
import os
import re
import shutil
import socket
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from installer import BLOCK, BuildError

ADDRESS = "It must be an address such as https://..., as a browser takes it."
LOOPBACK = (
    "127.0.0.1 and localhost are the builder here, not your machine: use an address that the builder reaches, or pass "
    "the file itself with INSTALLER=path."
)


def download(address: str, target: Path) -> Path:
    """Fetch the installer from a signed address. Raises BuildError."""
    try:
        request = request_for(address)
    except ValueError as error:
        raise BuildError(f"INSTALLER_URL is not an address that can be fetched: {error}. {ADDRESS}") from None
    for attempt in (1, 2, 3):
        try:
            with opener().open(request, timeout=60) as response, target.open("wb") as out:
                shutil.copyfileobj(response, out, BLOCK)
                check_whole(out.tell(), response.headers.get("Content-Length"))
            refuse_page(target)
            return target
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason, way_out, again = explain(error, urllib.parse.urlsplit(request.full_url).hostname or "")
            print(f"download of the installer, attempt {attempt} of 3: {reason}", file=sys.stderr)
            if not again:
                break
    raise BuildError(f"The installer could not be fetched from INSTALLER_URL: {reason}. {way_out}")


class CutShort(OSError):
    """The connection ended early; the message says after how much."""


def check_whole(received: int, announced: str | None) -> None:
    """`http.client` takes an early end for the end. Raises CutShort."""
    if announced and announced.isdigit() and received < int(announced):
        raise CutShort(f"the connection ended after {received} of {announced} bytes")


def refuse_page(path: Path) -> None:
    """A server that wants a login answers with a page, and 200. Raises BuildError."""
    with path.open("rb") as file:
        start = file.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<!--", b"<?xml")):
        raise BuildError(
            "INSTALLER_URL leads to a web page, not to the installer: the server may want a login, or the address has "
            "expired. It must give the file itself to whoever has the address."
        )


def request_for(address: str) -> urllib.request.Request:
    """Raises ValueError, whose message repeats nothing of the address."""
    if not address:
        raise ValueError("it is empty")
    if not re.fullmatch(r"[!-~]+", address):
        raise ValueError("it has a space or another character that must be written as %20 or the like")
    try:
        parts = urllib.parse.urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:  # its own message quotes the address
        raise ValueError("its host or port is malformed") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError("it is neither http nor https")
    if not host:
        raise ValueError("it names no host")
    place = f"[{host}]" if ":" in host else host
    request = urllib.request.Request(parts._replace(netloc=f"{place}:{port}" if port else place, fragment="").geturl())
    if parts.username is not None:
        user = ":".join(map(urllib.parse.unquote, (parts.username, parts.password or "")))
        # A redirect must not take the password elsewhere.
        request.add_unredirected_header("Authorization", "Basic " + base64.b64encode(user.encode()).decode())
    return request


def opener() -> urllib.request.OpenerDirector:
    """Knows http and https and nothing else, wherever a redirect leads to."""
    director = urllib.request.OpenerDirector()
    director.addheaders = [("User-Agent", "isx-build")]
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        director.add_handler(handler())
    return director


def explain(error: Exception, host: str) -> tuple[str, str, bool]:
    """What went wrong, in words that are never the server's or the library's (both may quote the address), the way out,
    and whether another attempt may help."""
    if isinstance(error, urllib.error.HTTPError):
        if error.code in (401, 403, 404, 410):
            return f"the server answered {error.code}", "The address has expired or is wrong: ask for a new one.", False
        if error.code // 100 == 3:
            return "the server redirects in a circle, or to what cannot be fetched", ADDRESS, False
        return f"the server answered {error.code}", "Try again later, or ask who runs the server.", error.code >= 500
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, ssl.SSLError):
        return (
            f"the connection is not secure ({cause.reason or type(cause).__name__})",
            "Behind a TLS-intercepting proxy, set SSL_CERT_FILE to its CA bundle.",
            False,
        )
    if isinstance(cause, str):  # urllib's own: an unknown scheme, no host
        return "the server redirects to what cannot be fetched", ADDRESS, False
    if isinstance(cause, CutShort):
        reason = str(cause)
    elif isinstance(cause, TimeoutError):
        reason = "no answer in time"
    elif isinstance(cause, socket.gaierror):
        reason = "the name of the server is not known"
    elif isinstance(cause, OSError) and cause.errno:
        reason = os.strerror(cause.errno)
    else:
        reason = type(cause).__name__
    if host in ("localhost", "::1") or host.startswith("127."):
        return reason, LOOPBACK, True
    return reason, "Does the builder reach that server?", True
