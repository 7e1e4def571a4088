"""What Manta's refusals mean, as errors whose line says what to do. Statuses and codes are manta-muskie's."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from typing import Any, Final, Protocol

from thoth.errors import (
    NoAnswer,
    NoRoom,
    NoSuchObject,
    NotAllowed,
    PreconditionFailed,
    ServiceError,
    StoreError,
    StoreTransient,
    StoreUnavailable,
    StoreUnreachable,
    Unreachable,
    Untrusted,
)
from thoth.model import strict_json

SKEW: Final = 300.0  # seconds that the clocks may differ before Manta refuses a signature
_SHOWN: Final = 200  # characters of a text of the server's
_LATER: Final = "try again later"
_TRANSIENT: Final = {408, 429, 500, 502, 503, 504}
_CLOCK_CODES: Final = {"InvalidHeader", "RequestExpired"}
_PLAIN: Final = {
    "DirectoryNotEmpty": "is not empty",
    "OperationNotAllowedOnDirectory": "is a directory",
    "OperationNotAllowedOnRootDirectory": "is one of Manta's own directories, which cannot be written or removed",
    "ParentNotDirectory": "one of the directories in its name is an object",
    "DirectoryLimitExceeded": "its directory holds as many entries as Manta allows",
    "MaxContentLengthExceeded": "is larger than what was announced to Manta, or than it takes",
}
_NOT_ALLOWED: Final = ("AuthorizationFailed", "NoMatchingRoleTag")
_ROLES: Final = "check whose directory it is (THOTH_USER) and which roles are taken (MANTA_ROLE)"
_HINTS: Final = {
    "InvalidAlgorithm": "this Manta does not know keys of its kind; name another in MANTA_KEY_ID, such as an RSA key",
    **dict.fromkeys(_NOT_ALLOWED, _ROLES),
    "AccountDoesNotExist": "check MANTA_USER, and THOTH_USER where that is set",  # who asks, or whose directory it is
    "UserDoesNotExist": "check MANTA_USER and MANTA_SUBUSER",
    # An answer to HEAD, which has no code.
    "": "check MANTA_USER, THOTH_USER and MANTA_ROLE where they are set, and MANTA_KEY_ID, and that the account has"
    " this key",
}


class Headed(Protocol):
    """An answer, of which the head was read."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...


class Response(Headed, Protocol):
    """An answer whose body, if there was one, was read."""

    @property
    def body(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asked, for the lines about keys and clocks."""

    url: str
    account: str
    key_id: str  # empty: nobody signs


def code_of(answer: Response) -> str:
    """The error's code; empty for an answer without one, such as any to HEAD."""
    return _told(answer, "code")


def refusal(answer: Response, about: str, asker: Asker, now: float) -> StoreError:
    """The error for an answer that is not the one that was due. ``about`` is the object, ``now`` our clock."""
    code = code_of(answer)
    if not is_mantas(answer):
        return _stranger(answer, asker)
    if skewed := _skew(answer, code, now):
        return StoreUnavailable(f"Manta {asker.url}: check the clock: {skewed} ({_words(answer)})")
    if answer.status in (401, 403):
        return _denied(answer, code, asker)
    if code == "InvalidRole":
        return StoreUnavailable(f"Manta {asker.url}: account {asker.account}: {_words(answer)}; check MANTA_ROLE")
    if code in _PLAIN:
        return StoreError(f"{about}: {_PLAIN[code]}")
    return _of_one_request(answer, about, code, now)


def _of_one_request(answer: Response, about: str, code: str, now: float) -> StoreError:
    status, text = answer.status, f"{about}: Manta: {_words(answer)}"
    if status == 404:
        return NoSuchObject(f"{about}: no such object")
    if status == 412:
        return PreconditionFailed(f"{about}: is not, or no longer, what it was expected to be; read it again")
    if status == 507:
        return NoRoom(f"{text}; free some space there, or try later")
    is_race = code == "ConcurrentRequest" or (status == 409 and not code)  # HEAD has no code
    if status in _TRANSIENT or is_race or code == "ContentMD5Mismatch":
        return StoreTransient(f"{text}; {_LATER}", _retry_after(answer, now))
    return StoreError(text)


def no_answer(error: ServiceError, about: str) -> StoreError:
    """The error for a request that got no answer at all."""
    if isinstance(error, Unreachable):
        return StoreUnreachable(f"{error}; check MANTA_URL, THOTH_PROXY and the network")
    if isinstance(error, NoAnswer):
        return StoreTransient(f"{about}: {error}; {_LATER}")
    if isinstance(error, Untrusted):
        return StoreUnavailable(f"{error}; check MANTA_URL: this may not be the Manta that is meant")
    return StoreUnavailable(str(error))


def _stranger(answer: Response, asker: Asker) -> StoreError:
    kind = answer.headers.get("Content-Type", "nothing").split(";")[0]
    text = (
        f"Manta {asker.url}: somebody else answered, {answer.status} with {shown(kind)}: is there a proxy in between?"
    )
    if 300 <= answer.status < 400:
        text += f" It points to {shown(answer.headers.get('Location', 'nowhere'))}"
    elif answer.status in _TRANSIENT:
        return StoreTransient(text)
    return StoreUnavailable(f"{text}; check MANTA_URL")


def is_mantas(answer: Headed) -> bool:
    """Whether it is Manta that answered. Pages are none of its; but an object may be one, and then has an etag."""
    headers = answer.headers
    is_page = headers.get("Content-Type", "").startswith("text/html") and "Etag" not in headers
    return "x-request-id" in headers and not is_page


def _denied(answer: Response, code: str, asker: Asker) -> StoreError:
    if code == "SecureTransportRequired":
        return StoreUnavailable(f"Manta {asker.url}: refuses what is not encrypted; write https:// in MANTA_URL")
    signer = f"the key {asker.key_id}" if asker.key_id else "requests without a key"
    hint = _HINTS.get(code, "check MANTA_USER and MANTA_KEY_ID, and that the account has this key")
    kind = NotAllowed if code in _NOT_ALLOWED else StoreUnavailable
    return kind(f"Manta {asker.url}: account {asker.account}: refuses {signer}: {_words(answer)}; {hint}")


def _skew(answer: Response, code: str, now: float) -> str:
    """How the clocks differ, when that is why a request was refused; else empty. HEAD has no code to tell."""
    said = _told(answer, "message").lower()
    named = code in _CLOCK_CODES and ("clock skew" in said or code == "RequestExpired")
    if answer.status not in (400, 401, 403) or (code and not named):
        return ""
    there = _date(answer.headers.get("Date", ""))
    if there is None or (not named and abs(there - now) < SKEW):
        return "it and the server's are too far apart" if named else ""
    return f"this machine says {formatdate(now, usegmt=True)}, the server {formatdate(there, usegmt=True)}"


def _words(answer: Response) -> str:
    code, message = code_of(answer), _told(answer, "message")
    said = f"{code}: {message}" if code and message else code or message or f"status {answer.status}"
    return f"{shown(said)} (request {shown(answer.headers.get('x-request-id', 'without id'))})"


def _told(answer: Response, field: str) -> str:
    try:
        value = json_object(answer.body).get(field)
    except ValueError:
        return ""  # not Manta's, or cut: the status decides then
    return value if isinstance(value, str) else ""


def json_object(data: bytes) -> dict[str, Any]:
    """A JSON object that a server has sent. Raises ValueError for what is none, or is nested too deep to be read."""
    with suppress(RecursionError):
        if isinstance(told := strict_json(data), dict):
            return told
    raise ValueError("not a JSON object")


def shown(text: str) -> str:
    """A text of the server's, fit for a line on a terminal."""
    kept = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return "".join(each if each.isprintable() else "?" for each in kept)


def _retry_after(answer: Response, now: float) -> float | None:
    """Seconds, from a number or a date."""
    value = answer.headers.get("Retry-After", "")
    if value.isascii() and value.isdigit():
        return float(value)
    at = _date(value)
    return None if at is None else max(0.0, at - now)


def _date(value: str) -> float | None:
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None
