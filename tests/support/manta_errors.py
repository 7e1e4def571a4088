"""What the Manta test server refuses, with the statuses and codes of the real one.

A code has no suffix ``Error``, but for the three that have it on the wire too. Source: muskie's lib/errors.js, by way
of the specification; the messages are ours, but for the parts that clients look at.
"""

from __future__ import annotations

from collections.abc import Mapping


class Refusal(Exception):
    """A request is answered with an error: a status, a code, and one sentence for people."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        headers: Mapping[str, str] | None = None,
        *,
        close: bool = False,
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})
        self.close = close  # the connection too


def invalid_header(message: str) -> Refusal:
    return Refusal(400, "InvalidHeader", message)


def bad_request(message: str) -> Refusal:
    return Refusal(400, "BadRequest", message)


def not_found(what: str) -> Refusal:
    return Refusal(404, "ResourceNotFound", f"there is no {what}")


def not_offered(method: str, path: str) -> Refusal:
    return Refusal(405, "MethodNotAllowed", f"{method} is not offered on {path}")


def no_directory(parent: str) -> Refusal:
    return Refusal(404, "DirectoryDoesNotExist", f"there is no directory {parent}")


def parent_not_directory(parent: str) -> Refusal:
    return Refusal(400, "ParentNotDirectory", f"{parent} is an object")


def on_directory(method: str, path: str) -> Refusal:
    return Refusal(400, "OperationNotAllowedOnDirectory", f"{method} is for objects, and {path} is a directory")


def on_root(method: str, path: str) -> Refusal:
    return Refusal(
        400, "OperationNotAllowedOnRootDirectory", f"{path} is a top directory, which {method} cannot change"
    )


def not_allowed(who: str, path: str) -> Refusal:
    return Refusal(403, "AuthorizationFailed", f"{who} may not do this to {path}")


def precondition_failed(message: str) -> Refusal:
    return Refusal(412, "PreconditionFailed", message)


def concurrent(path: str) -> Refusal:
    return Refusal(409, "ConcurrentRequest", f"another request changed {path} meanwhile")


def invalid_update(name: str, rest: str = "") -> Refusal:
    return Refusal(400, "InvalidUpdate", f"{name} cannot be changed{rest}")


def upload_argument(message: str) -> Refusal:
    return Refusal(409, "MultipartUploadInvalidArgument", message)


def upload_state(message: str) -> Refusal:
    return Refusal(409, "InvalidMultipartUploadState", message)


def invalid_durability(most: int) -> Refusal:
    return Refusal(400, "InvalidDurabilityLevel", f"1 to {most} copies can be kept")


def too_long(limit: int) -> Refusal:
    return Refusal(413, "MaxContentLengthExceeded", f"more than the {limit} bytes came that were promised")


def no_space(size: int) -> Refusal:
    return Refusal(507, "NotEnoughSpace", f"no room for {size} bytes")


def upload_timeout() -> Refusal:
    return Refusal(408, "UploadTimeout", "the body stopped coming", close=True)
