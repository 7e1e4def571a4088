"""Who sends a request, proved by its signature: in the Authorization header, or in a signed URL.

Sources: cavage-http-signatures-00 in the loose mode of http-signature 1.x; muskie's lib/auth.js, lib/common.js.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from urllib.parse import quote, unquote

from tests.support.manta_accounts import NOBODY, Account, Caller, Subuser
from tests.support.manta_errors import Refusal, invalid_header, not_allowed
from tests.support.manta_exchange import Exchange

_PARAMETERS = re.compile(r'([A-Za-z]+="[^"]*",)*[A-Za-z]+="[^"]*",?')
_PARAMETER = re.compile(r'([A-Za-z]+)="([^"]*)"')
# What http-signature can parse, and what muskie then allows.
_KNOWN = re.compile(r"(rsa|dsa|ecdsa|ed25519|hmac)-(sha1|sha256|sha512)")
_ALLOWED = {
    *("rsa-sha1", "rsa-sha256", "rsa-sha384", "rsa-sha512", "dsa-sha1", "dsa-sha256"),
    *("ecdsa-sha256", "ecdsa-sha384", "ecdsa-sha512"),
}
_ALLOWED_SINCE_2023 = {*_ALLOWED, "ed25519-sha512"}
_FOUR = ("algorithm", "expires", "keyId", "signature")
_UNRESERVED = "-_.~"  # RFC 3986; quote() itself leaves letters and digits


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature that is yet to be verified; ``algorithm`` in lower case."""

    key_id: str
    algorithm: str
    text: str
    signature: str


def check_date(exchange: Exchange) -> None:
    """Raises Refusal for a Date header that is no date, or too old."""
    stated = exchange.headers.get("date")
    if stated is None:
        return
    if exchange.options.now() - _seconds(stated) > exchange.options.limits.max_request_age:
        raise Refusal(400, "RequestExpired", f"the request was dated {stated}, too old by now")


def authenticate(exchange: Exchange) -> None:
    """Fills in caller and owner. Raises Refusal."""
    if exchange.as_caller:
        exchange.caller = exchange.as_caller
    else:
        signed = _signed(exchange)
        _require_tls(exchange)
        exchange.caller = _token(exchange) or (_caller(exchange, signed) if signed else NOBODY)
    exchange.owner = _owner(exchange)
    exchange.caller = _with_roles(exchange)


# ---- the signature ------------------------------------------------------------------------------------


def _signed(exchange: Exchange) -> Signed | None:
    value = exchange.headers.get("authorization")
    if value is not None:
        return _signed_header(exchange, value)
    exchange.presigned = any(exchange.query.get(name) for name in _FOUR)
    return _signed_url(exchange) if exchange.presigned else None


def _signed_header(exchange: Exchange, value: str) -> Signed | None:
    scheme, blank, rest = value.partition(" ")
    if not blank:
        raise invalid_header("Invalid Authorization header")
    if scheme.lower() == "token":
        return None
    if scheme.lower() != "signature":
        raise Refusal(403, "AuthorizationSchemeNotAllowed", f"Signature or Token is wanted, not {scheme}")
    try:
        signed = _parse(scheme, rest, exchange)
    except ValueError as error:
        raise invalid_header(f"Invalid Signature Authorization header: {error}") from None
    allowed = _ALLOWED if exchange.options.v1 else _ALLOWED_SINCE_2023
    if signed.algorithm not in allowed:
        names = ", ".join(sorted(allowed))
        message = f"{signed.algorithm} is none of the algorithms that count here: {names}"
        raise Refusal(401, "InvalidAlgorithm", message)
    return signed


def _parse(scheme: str, text: str, exchange: Exchange) -> Signed:
    """Raises ValueError with what http-signature would complain of."""
    if not _PARAMETERS.fullmatch(text):
        raise ValueError("its parameters are malformed")
    found = dict(_PARAMETER.findall(text))
    if scheme != "Signature":
        raise ValueError("its scheme is not written Signature")
    for name in ("keyId", "algorithm", "signature"):
        if not found.get(name):
            raise ValueError(f"it has no {name}")
    algorithm = found["algorithm"].lower()
    if not _KNOWN.fullmatch(algorithm):
        raise ValueError(f"{algorithm} is unknown")
    dated = "x-date" if "x-date" in exchange.headers else "date"
    names = found["headers"].lower().split(" ") if found.get("headers") else [dated]
    lines = [_line(name, exchange) for name in names]
    _check_skew(exchange)
    if dated not in names:
        raise ValueError(f"{dated} is not signed")
    return Signed(found["keyId"], algorithm, "\n".join(lines), found["signature"])


def _line(name: str, exchange: Exchange) -> str:
    if name == "request-line":
        return f"{exchange.method} {exchange.head.target} HTTP/1.{exchange.head.minor}"
    if name == "(request-target)":
        return f"(request-target): {exchange.method.lower()} {exchange.head.target}"
    if name not in exchange.headers:
        raise ValueError(f"{name} is signed but was not sent")
    return f"{name}: {exchange.headers[name]}"


def _check_skew(exchange: Exchange) -> None:
    stated = exchange.headers.get("x-date") or exchange.headers.get("date")
    if stated is None:
        return
    most = exchange.options.limits.clock_skew
    skew = abs(exchange.options.now() - _seconds(stated))
    if skew > most:
        raise ValueError(f"clock skew of {skew:.3f} s, over {most:.0f} s")


def _seconds(date: str) -> float:
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:
        raise invalid_header(f"not a date: {date}") from None


# ---- signed URLs --------------------------------------------------------------------------------------


def _signed_url(exchange: Exchange) -> Signed:
    query = exchange.query
    methods = sorted(re.split(r"\s*,\s*", query.get("method") or exchange.method))
    if exchange.method not in methods:
        raise _query(f"the URL is not signed for {exchange.method}")
    if missing := [name for name in _FOUR if not query.get(name)]:
        raise _query(f"the URL lacks {', '.join(missing)}")
    if not re.match("[0-9]+", query["expires"]):
        raise _query("expires is not a number")
    if int(exchange.options.now()) > int(re.match("[0-9]+", query["expires"])[0]):  # type: ignore[index]  # it matched above
        raise _query("the URL has expired")
    algorithm = query["algorithm"].lower()
    if algorithm not in (_ALLOWED if exchange.options.v1 else _ALLOWED_SINCE_2023):
        raise _query(f"{algorithm} does not count here")
    text = "\n".join([",".join(methods), exchange.headers.get("host", ""), exchange.path_sent, _canonical(query)])
    return Signed(query["keyId"], algorithm, text, query["signature"])


def _canonical(query: Mapping[str, str]) -> str:
    pairs = sorted((name, value) for name, value in query.items() if name.lower() != "signature")
    return "&".join(f"{quote(name, safe=_UNRESERVED)}={quote(value, safe=_UNRESERVED)}" for name, value in pairs)


def _query(message: str) -> Refusal:
    return Refusal(403, "InvalidQueryStringAuthentication", message)


# ---- the caller ---------------------------------------------------------------------------------------


def _require_tls(exchange: Exchange) -> None:
    # Plain HTTP passes only because this server listens on loopback alone; --require-tls makes it as the real one is.
    insecure = exchange.options.require_tls and not exchange.options.tls
    public = exchange.reads and is_public(exchange.path)
    if insecure and not exchange.presigned and not public:
        raise Refusal(403, "SecureTransportRequired", "plain HTTP is not taken here: use HTTPS")


def is_public(path: str) -> bool:
    """Whether an encoded path lies under /LOGIN/public."""
    return bool(re.match("/[^/]+/public(/|$)", path))


def _token(exchange: Exchange) -> Caller | None:
    scheme, _, token = exchange.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "token":
        return None
    caller = exchange.service.tokens.get(token)
    if caller is None:
        message = "nobody was given this token"
        raise Refusal(403, "InvalidAuthenticationToken", message)
    return caller


def _caller(exchange: Exchange, signed: Signed) -> Caller:
    login, user, name = _key_parts(signed.key_id)
    account = _account(exchange, login)
    subuser = account.subuser(user) if user is not None else None
    if user is not None and subuser is None:
        raise Refusal(403, "UserDoesNotExist", f"there is no user {login}/{user}")
    keys = exchange.service.accounts.keys(account, subuser)
    if name not in keys:
        who = f"/{login}/{user}" if user is not None else f"/{login}"
        raise Refusal(403, "KeyDoesNotExist", f"{who}/keys/{name} is no key that is known")
    if not _KNOWN.fullmatch(signed.algorithm):  # a signed URL with sha384: allowed, yet http-signature throws
        raise Refusal(500, "InternalError", "something broke")
    if not keys.verifies(name, signed.algorithm, signed.text, signed.signature):
        raise Refusal(403, "InvalidSignature", "the signature is not of this text and this key")
    return Caller(account, subuser)


def _key_parts(key_id: str) -> tuple[str, str | None, str]:
    """Login, subuser or None, and name of the key. The pieces are split first and decoded then."""
    pieces = key_id.split("/")
    known = (len(pieces), pieces[-2] if len(pieces) > 1 else "") in ((4, "keys"), (5, "keys"))
    decoded = [_decoded(piece) for piece in pieces] if known else []
    if not known or "" in decoded[1:]:
        raise Refusal(403, "InvalidKeyId", "keyId is not of the form /ACCOUNT/keys/FINGERPRINT")
    return decoded[1], decoded[2] if len(decoded) == 5 else None, decoded[-1]


def _decoded(piece: str) -> str:
    try:
        return unquote(piece, errors="strict")
    except UnicodeDecodeError:
        return ""


def _account(exchange: Exchange, login: str) -> Account:
    account = exchange.service.accounts.by_login.get(login)
    if account is None:
        raise Refusal(403, "AccountDoesNotExist", f"there is no account {login}")
    if account.blocked and not account.operator:
        raise Refusal(403, "AccountBlocked", f"the account {login} is closed")
    return account


def _owner(exchange: Exchange) -> Account:
    owner = _account(exchange, exchange.key.split("/")[1])
    if exchange.caller.account is None and not (exchange.reads and is_public(exchange.path)):
        nobody = owner.subuser("anonymous")
        if nobody is None:
            raise not_allowed("anonymous", exchange.path)
        exchange.caller = Caller(owner, nobody)
    return owner


# ---- roles --------------------------------------------------------------------------------------------


def _with_roles(exchange: Exchange) -> Caller:
    """The caller with the roles that it asks for, or else its default ones."""
    caller = exchange.caller
    if caller.account is None or caller.roles:
        return caller
    held = caller.subuser.roles if caller.subuser else ()
    wanted = exchange.parameter("role")
    if not wanted:
        default = caller.subuser.default_roles if caller.subuser else ()
        return replace(caller, roles=held if default is None else default)
    if wanted == "*" and caller.subuser:
        return replace(caller, roles=held)
    names = tuple(re.split(r"\s*,\s*", wanted))
    for name in names:
        if caller.account.role(name) is None or name not in held:
            raise Refusal(409, "InvalidRole", f"{name} is no role of yours")
    return replace(caller, roles=names)


def role_tags(exchange: Exchange) -> tuple[str, ...]:
    """The tags of what is written: those that are asked for, or else a subuser's active roles. Raises Refusal."""
    wanted = exchange.parameter("role-tag")
    if not wanted:
        return exchange.caller.roles if exchange.caller.subuser else ()
    names = tuple(re.split(r"\s*,\s*", wanted))
    for name in names:
        if exchange.owner is None or exchange.owner.role(name) is None:
            raise Refusal(409, "InvalidRoleTag", f"{name} is no role of the account")
    return names


def authorize(exchange: Exchange, action: str, tags: tuple[str, ...]) -> None:
    """Raises Refusal unless the caller may do this to a resource with these role tags. ``action``: ``putobject``."""
    caller, owner = exchange.caller, exchange.owner
    if exchange.reads and is_public(exchange.path):
        return
    if caller.account is None or owner is None:
        raise not_allowed(caller.login, exchange.path)
    if caller.account.operator and caller.subuser is None:
        return
    if caller.account.login != owner.login:
        raise not_allowed(caller.login, exchange.path)
    if caller.subuser is not None:
        _authorize_subuser(exchange, caller.subuser, action, tags)


def _authorize_subuser(exchange: Exchange, subuser: Subuser, action: str, tags: tuple[str, ...]) -> None:
    owner = exchange.owner
    matching = [role for name in exchange.caller.roles if name in tags and owner and (role := owner.role(name))]
    if not matching:
        message = "the resource has none of the active roles"
        raise Refusal(403, "NoMatchingRoleTag", message)
    if not any(role.actions is None or action in role.actions for role in matching):
        raise not_allowed(exchange.caller.login, exchange.path)
