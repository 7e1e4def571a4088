"""A key among those of a Triton account, by CloudAPI. Run by the scripts beside it, in an installed Thoth.

    python cloudapi.py [--ca FILE] look NAME < PUBLIC     prints present, other (another key has the name) or absent
    python cloudapi.py [--ca FILE] get NAME               prints the public key of that name
    python cloudapi.py [--ca FILE] add NAME < PUBLIC
    python cloudapi.py [--ca FILE] remove NAME            done as well when there is none

Account, address and signing key are those of SDC_URL, SDC_ACCOUNT and SDC_KEY_ID, or of TRITON_*. A problem is one
line on stderr and status 1. Source of requests and replies: CloudAPI's documentation, "Keys".
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from email.utils import formatdate
from getpass import getpass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from thoth import ThothError, escaped
from thoth.store.keys import KeyOwner, KeyPlaces, Signer, find_signer

_VERSION = "~8"  # of CloudAPI; the calls used here are the same since 7
_TIMEOUT = (20.0, 60.0)  # seconds to connect, and without a byte
_ABSENT = 404


class Refused(Exception):
    """Why something could not be done, as one line."""


class CloudApi:
    """The keys of one account. Certificates are always checked, against the public authorities or those in ``ca``."""

    def __init__(self, url: str, account: str, signer: Signer, ca: str | None) -> None:
        self._url = f"{url.rstrip('/')}/{quote(account, safe='')}/keys"
        self._where = url
        self._signer = signer
        self._session = requests.Session()
        self._session.trust_env = False  # a .netrc would take the place of our Authorization
        self._session.verify = ca or True

    def key(self, name: str) -> str | None:
        """The public key of that name, as type and base64; None when there is none."""
        reply = self._ask("GET", name, also=_ABSENT)
        if reply.status_code == _ABSENT:
            return None
        try:
            return _bare(reply.json()["key"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Refused(f"{self._where}: its answer is none of CloudAPI's") from error

    def add(self, name: str, public: str) -> None:
        self._ask("POST", None, {"name": name, "key": f"{public} {name}"})

    def remove(self, name: str) -> None:
        self._ask("DELETE", name, also=_ABSENT)

    def _ask(self, method: str, name: str | None, body: Any = None, also: int = 0) -> requests.Response:
        date = formatdate(usegmt=True)
        headers = {
            "Date": date,
            "Authorization": self._signer.authorization(date),
            "Accept": "application/json",
            "Accept-Version": _VERSION,
        }
        url = self._url if name is None else f"{self._url}/{quote(name, safe='')}"
        try:
            reply = self._session.request(
                method, url, headers=headers, json=body, timeout=_TIMEOUT, allow_redirects=False
            )
        except requests.RequestException as error:
            raise Refused(f"{self._where}: {_reason(error)}") from error
        if not (200 <= reply.status_code < 300 or reply.status_code == also):
            raise Refused(f"{self._where}: {method} of a key: {reply.status_code} {_message(reply)}")
        return reply


def _reason(error: requests.RequestException) -> str:
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not one that is trusted here; if it is your own authority's, name that with --ca"
    if isinstance(error, requests.exceptions.Timeout):
        return "no answer"
    return "cannot be reached" if isinstance(error, requests.exceptions.ConnectionError) else type(error).__name__


def _message(reply: requests.Response) -> str:
    try:
        said = reply.json()
    except ValueError:
        said = None
    code, message = (said.get("code", ""), said.get("message", "")) if isinstance(said, dict) else ("", "")
    return escaped(str(code or reply.reason).encode()[:80]) + (
        f": {escaped(str(message).encode()[:200])}" * bool(message)
    )


def _bare(line: str) -> str:
    """Type and base64 of a public key's line, without its comment."""
    return " ".join(line.split()[:2])


# ---- the command --------------------------------------------------------------------------------------------------


def _setting(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(f"TRITON_{name}") or environ.get(f"SDC_{name}")
    if not value:
        raise Refused(f"SDC_{name}: not set, nor is TRITON_{name}")
    return value


def _opened(environ: Mapping[str, str], ca: str | None) -> CloudApi:
    url, account, key = (_setting(environ, name) for name in ("URL", "ACCOUNT", "KEY_ID"))
    if not url.startswith("https://"):
        raise Refused(f"{url}: not an https address")
    places = KeyPlaces(Path(environ["HOME"]) if environ.get("HOME") else None, environ.get("SSH_AUTH_SOCK"))
    ask: Callable[[str], str] | None = getpass if sys.stdin.isatty() or sys.stderr.isatty() else None
    signer = find_signer(KeyOwner(account), key, places=places, ask=ask, setting="SDC_KEY_ID")
    return CloudApi(url, account, signer, ca)


def _look(api: CloudApi, name: str) -> str:
    wanted, found = _bare(sys.stdin.readline()), api.key(name)
    if found is None:
        return "absent"
    return "present" if found == wanted else "other"


def _get(api: CloudApi, name: str) -> str:
    return api.key(name) or ""


def _add(api: CloudApi, name: str) -> str:
    api.add(name, _bare(sys.stdin.readline()))
    return ""


def _remove(api: CloudApi, name: str) -> str:
    api.remove(name)
    return ""


_COMMANDS: Mapping[str, Callable[[CloudApi, str], str]] = {
    "look": _look,
    "get": _get,
    "add": _add,
    "remove": _remove,
}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ca")
    parser.add_argument("command", choices=_COMMANDS)
    parser.add_argument("name")
    arguments = parser.parse_args()
    try:
        result = _COMMANDS[arguments.command](_opened(os.environ, arguments.ca), arguments.name)
    except (Refused, ThothError) as error:
        print(f"cloudapi: {error}", file=sys.stderr)
        return 1
    if result:
        print(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
