"""What npm's http-signature says of a signature: the library with which Manta itself parses and verifies.

verdict = verify_with_http_signature("GET", "/alice/stor", headers, public_key)
assert verdict.verified, verdict.refused
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.node_packages import node_modules
from tests.support.roots import program

_SCRIPT = Path(__file__).with_name("verify_signature.js")
_TIME = 20.0  # seconds; usually it is 0.15


@dataclass(frozen=True, slots=True)
class Verdict:
    """``refused``: why the request could not even be parsed, or its key not used; empty when it could.

    ``signing_string`` is the text that http-signature made of the request, and ``algorithm`` is in lower case
    (http-signature itself turns it into upper case).
    """

    verified: bool
    refused: str = ""
    key_id: str = ""
    algorithm: str = ""
    signing_string: str = ""


def verify_with_http_signature(
    method: str,
    target: str,
    headers: Mapping[str, str],
    public_key: str,
    *,
    clock_skew: float = 300.0,
) -> Verdict:
    """Judges a request by its Authorization header.

    ``target`` is the path with its query as sent; ``headers`` may be in any case; ``public_key`` is PEM or a line of
    OpenSSH; ``clock_skew`` is how far Date may be from now, in seconds.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    request = {"method": method, "url": target, "httpVersion": "1.1", "headers": lower}
    return _ask({"request": request, "clockSkew": clock_skew, "publicKey": public_key})


def verify_text_with_http_signature(text: str, signature: str, algorithm: str, public_key: str) -> Verdict:
    """Judges a base64 signature of a text, as of a signed URL; ``algorithm`` as ``rsa-sha256``, in any case."""
    return _ask({"text": text, "signature": signature, "algorithm": algorithm.lower(), "publicKey": public_key})


def _ask(question: dict[str, object]) -> Verdict:
    document = json.dumps({**question, "modules": str(node_modules())})
    ran = subprocess.run(
        [str(program("node")), "--no-deprecation", str(_SCRIPT)],
        input=document,
        capture_output=True,
        text=True,
        timeout=_TIME,
        check=True,
    )
    answer = json.loads(ran.stdout)
    if "refused" in answer:
        return Verdict(False, answer["refused"])
    return Verdict(answer["verified"], "", answer["keyId"], answer["algorithm"].lower(), answer["signingString"])
