"""The files that hold a configuration: ours, in TOML, and the original's, in JSON.

Ours has the keys ``store``, ``db``, ``user``, ``cache`` and ``debuginfod``, each a text, ``stack``, a text or a list
of texts, and a table ``[manta]`` of texts, true or false, and a size, which may be a number. The original's is
``~/.thoth.config.json``, or ``config.json`` in the store: an object of which ``db`` tells where RethinkDB is, as
``{"host", "port", "db", "authKey", "table"}``, the last of which is of no use here; we add ``user``, ``password`` for
``authKey``, ``tls`` and ``ca``.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from thoth.errors import UsageError

_LARGEST: Final = 1 << 20  # bytes of a configuration file: /dev/zero is none
_MOST: Final = (1 << 63) - 1  # a number in TOML
_PORT: Final = 28015  # of RethinkDB's drivers
_DIGITS: Final = re.compile("[0-9]+")
_OF_RETHINKDB: Final = ("host", "port", "db", "authKey", "table", "user", "password", "tls", "ca")


def toml_settings(path: Path, keys: Mapping[str, type], *, must_exist: bool) -> dict[str, str]:
    """What a TOML file says, by dotted key; ``keys`` are those known, each with its type: str, bool, list or int.

    True comes as ``1`` and False as ``0``, a list of texts as one with commas between them; where a list or a number
    may stand, so may a text. Raises UsageError, which never holds a value that may be secret.
    """
    told = _parsed(path, _read(path, must_exist=must_exist))
    settings = dict(_flat(path, told, keys))
    if _has_password(settings.get("db", "")):
        _refuse_readable(path)
    return settings


def json_database(path: Path, user: str, over: Mapping[str, str]) -> str | None:
    """The URL of the RethinkDB that the original's file names, or None when it is not there or names none.

    ``over``: as ``database_url``. Raises UsageError.
    """
    data = _read(path, must_exist=False)
    url = database_url(data, str(path), user, {}) if data else None
    if url is not None and _has_password(url):
        _refuse_readable(path)
    return url if url is None else database_url(data, str(path), user, over)


def database_url(data: bytes, origin: str, user: str, over: Mapping[str, str]) -> str | None:
    """The URL of the database that a document of the original's form names, or None. Raises UsageError.

    ``user`` is whose dumps these are: their name is that of the database when the document tells none. ``over`` are
    fields that stand in the place of the document's: ``port``, ``db``, ``authKey``, as ``overruling`` gives them.
    """
    import json  # noqa: PLC0415 - most have no such file

    try:
        told = json.loads(data, parse_int=float)  # numbers as the original has them, of any length
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{origin}: not JSON: {error}") from error
    if not isinstance(told, dict):
        raise UsageError(f'{origin}: must be an object, as {{"db": {{"host": "NAME"}}}}')
    database = told.get("db")
    if database is None:
        return None
    if not isinstance(database, dict):
        raise UsageError(f'{origin}: db must be an object, as {{"host": "NAME", "authKey": ".."}}')
    kept = {key: value for key, value in database.items() if key != "password" or "authKey" not in over}
    return rethink_url({**kept, **over}, f"{origin}: db", user)


def rethink_url(told: Mapping[str, Any], origin: str, user: str) -> str:
    """``rethinkdb://USER:PASSWORD@HOST:PORT/DATABASE`` from the fields of the original. Raises UsageError."""
    if unknown := told.keys() - {*_OF_RETHINKDB}:
        raise UsageError(f"{origin}: unknown key {min(unknown)!r}; known are {', '.join(_OF_RETHINKDB)}")
    host = _text(told, "host", origin)
    if not host:
        raise UsageError(f"{origin}: names no host")
    if host.count(":") == 1 or "/" in host:
        raise UsageError(f"{origin}: host must be a name or an address alone; the port is named apart from it")
    password = _text(told, "password", origin) or _auth_key(_text(told, "authKey", origin))
    who = _text(told, "user", origin) or "admin"
    credentials = f"{quote(who, safe='')}:{quote(password, safe='')}@" if password else ""
    name = quote(_text(told, "db", origin) or database_name(user), safe="")
    address = f"[{host}]" if ":" in host else quote(host, safe="")
    return f"rethinkdb://{credentials}{address}:{_port(told, origin)}/{name}{_tls(told, origin)}"


def with_password(url: str, password: str) -> str:
    """The URL of a RethinkDB with a password, unless it has one or is another kind of URL. Raises UsageError."""
    scheme, separator, rest = url.partition("://")
    key = _auth_key(password)
    if not key or scheme != "rethinkdb" or "@" in rest:
        return url
    return f"{scheme}{separator}admin:{quote(_utf_8(key, 'THOTH_DB_AUTHKEY'), safe='')}@{rest}"


def original_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """What the original's variables say of the database, by the keys of its file."""
    variables = {key: _variable(key) for key in ("host", "port", "db", "authKey")}
    return {key: environ[variable] for key, variable in variables.items() if environ.get(variable)}


def overruling(values: Mapping[str, str]) -> dict[str, str]:
    """What variables say of a database that is named elsewhere: all but its host. Raises UsageError."""
    over = {key: _utf_8(value, _variable(key)) for key, value in values.items() if key != "host"}
    _port(over, _variable("port"))
    return over


def overruled(url: str, over: Mapping[str, str]) -> str:
    """The URL of a RethinkDB with these fields in the place of its own; one of another kind, or of none, as it is."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url  # whoever opens it says what is wrong
    if parts.scheme != "rethinkdb":
        return url
    credentials, at, address = parts.netloc.rpartition("@")
    if "authKey" in over:
        key = _auth_key(over["authKey"])
        who = credentials.partition(":")[0] or "admin"
        credentials, at = (f"{who}:{quote(key, safe='')}", "@") if key else ("", "")
    if "port" in over:
        address = re.sub(":[0-9]*$", "", address) + f":{_port(over, _variable('port'))}"
    path = "/" + quote(over["db"], safe="") if "db" in over else parts.path
    return parts._replace(netloc=credentials + at + address, path=path).geturl()


def origin_with(origin: str, over: Mapping[str, str]) -> str:
    """Who named a database, with the variables that say something of it."""
    return ", ".join([origin, *map(_variable, over)])


def _variable(key: str) -> str:
    return f"THOTH_DB_{key.upper()}"


def database_name(user: str) -> str:
    """The database of a user's dumps, as the original names it; RethinkDB takes letters, digits, ``_`` and ``-``."""
    return "".join(each if each.isalnum() or each in "_-" else "_" for each in user)


def _port(told: Mapping[str, Any], origin: str) -> int:
    """A number, or its digits as a text."""
    port = told.get("port")
    if port is None or port == "":
        return _PORT
    number = port if isinstance(port, float) else None
    if isinstance(port, str) and _DIGITS.fullmatch(port):
        number = float(port)
    if number is None or not number.is_integer() or not 0 < number < 1 << 16:
        raise UsageError(f"{origin}: port must be a number from 1 to 65535")
    return int(number)


def _auth_key(key: str) -> str:
    """The original has a key of its own, and ``none`` for none."""
    return "" if key == "none" else key


def _tls(told: Mapping[str, Any], origin: str) -> str:
    wanted, authority = told.get("tls"), _text(told, "ca", origin)
    if wanted not in (None, True, False) or isinstance(wanted, float):
        raise UsageError(f"{origin}: tls must be true or false")
    if authority:
        return f"?tls=1&ca={quote(authority, safe='')}"
    return "?tls=1" if wanted else ""


def _text(told: Mapping[str, Any], key: str, origin: str) -> str:
    value = told.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UsageError(f"{origin}: {key} must be a text")
    return _utf_8(value, f"{origin}: {key}")


def _utf_8(value: str, origin: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{origin} is not UTF-8; write it anew") from error
    return value


def _has_password(url: str) -> bool:
    return "@" in url and url.startswith("rethinkdb:")


def _refuse_readable(path: Path) -> None:
    """A password that others on this machine can read is theirs."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    if stat.S_ISREG(mode) and mode & 0o077:
        raise UsageError(f"{path}: holds a password and others may read it; run: chmod 600 {path}")


# ---- TOML -----------------------------------------------------------------------------------------


def _flat(path: Path, told: Mapping[str, Any], keys: Mapping[str, type]) -> list[tuple[str, str]]:
    """The values by dotted key. Raises UsageError for a key that is unknown and a value that is of another type."""
    found: list[tuple[str, str]] = []
    tables = {key.partition(".")[0] for key in keys if "." in key}
    for key, value in told.items():
        if key in tables:
            if not isinstance(value, dict):
                raise UsageError(f"{path}: {key}: must be a table, not {_kind(value)}")
            found += [(f"{key}.{below}", inner) for below, inner in value.items()]
        else:
            found.append((key, value))
    return [(key, _value(path, key, value, keys)) for key, value in found]


def _value(path: Path, key: str, value: object, keys: Mapping[str, type]) -> str:
    if key not in keys:
        raise UsageError(f"{path}: unknown key {key!r}; known are {', '.join(keys)}")
    if keys[key] is bool:
        if not isinstance(value, bool):
            raise UsageError(f"{path}: {key}: must be true or false, not {_kind(value)}")
        return str(int(value))
    if keys[key] is list and isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        return ",".join(value)
    if keys[key] is int and isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _MOST:
        return str(value)
    if not isinstance(value, str) or not value:
        raise UsageError(f"{path}: {key}: must be a text in quotes, not {_kind(value)}")
    return value


def _read(path: Path, *, must_exist: bool) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError) and not must_exist:
            return b""
        raise UsageError(f"{path}: {getattr(error, 'strerror', None) or 'not a file name'}") from error
    if len(data) > _LARGEST:
        raise UsageError(f"{path}: over {_LARGEST >> 20} MiB, which is no configuration file")
    return data


def _parsed(path: Path, data: bytes) -> Mapping[str, Any]:
    if not data:
        return {}
    import tomllib  # noqa: PLC0415 - most have no file

    try:
        # utf-8-sig: editors on Windows begin a file with a byte order mark
        return tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}: line {line}: not UTF-8") from error
    except (ValueError, RecursionError) as error:  # ValueError alone: a number of thousands of digits
        raise UsageError(f"{path}: not TOML: {error}") from error


def _kind(value: object) -> str:
    kinds = {str: "an empty one", bool: "true or false", dict: "a table", list: "a list"}
    if value and isinstance(value, str):
        return "a text"
    return kinds.get(type(value), "a number or date")
