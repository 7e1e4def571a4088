"""What Thoth is told: defaults < file < environment < flags, each value with where it came from.

The file is TOML with the keys ``store``, ``db``, ``user`` and ``cache``. It is the one that ``--config`` or
THOTH_CONFIG names, which then has to exist, or else ``thoth/config.toml`` in the user's configuration directory
(``~/.config`` on most systems), which may be missing. No other module reads the environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from thoth.errors import UsageError

DEFAULT: Final = "default"  # the origin of a value that nobody gave
_CACHE: Final = "/var/tmp/thoth/cache"  # noqa: S108 - where the original has it; what opens it checks whose it is
_OWN_CACHE: Final = "/var/tmp/thoth-{uid}/cache"  # noqa: S108 - of an ordinary user: root's is closed to others
_RETHINK: Final = "rethinkdb"  # the index that the original's variables ask for
_LARGEST: Final = 1 << 20  # bytes of a configuration file: /dev/zero is none
# Part of every name in the store, of the database's name, and of paths: Manta's logins, without '%'.
_USER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}")
_CREDENTIALS: Final = re.compile(r"(?<=://)[^/].*@|\?.*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Setting:
    """One value and where it came from: ``default``, a file, a variable of the environment, or a flag."""

    value: str
    origin: str


@dataclass(frozen=True, slots=True)
class Config:
    """What a Thoth is opened with: the URLs of its store and index, whose dumps they are, and where copies go."""

    store: str
    db: str
    user: str
    cache: str  # the directory of the dumps that are fetched to be debugged or analyzed
    origins: Mapping[str, str]  # of each of the fields above

    def described(self, name: str) -> str:
        """A setting as people may see it, without credentials: ``URL (configured from THOTH_STORE)``."""
        origin = self.origins[name]
        where = DEFAULT if origin == DEFAULT else f"configured from {origin}"
        return f"{without_credentials(getattr(self, name))} ({where})"


_KEYS: Final = tuple(field.name for field in fields(Config) if field.name != "origins")


def environment() -> Mapping[str, str]:
    """The environment of this process. Nobody else looks at it."""
    return os.environ


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found of a configuration, whether or not it can be used."""

    settings: Mapping[str, Setting]  # by the names in Config; a store or index that nobody can tell is not among them
    file: Setting | None  # the file that is read, there or not, and who names it; None: there is no home for it
    faults: Mapping[str, UsageError]  # what is wrong with which setting; "config": with the file


def load_config(
    environ: Mapping[str, str],
    *,
    file: str | None = None,
    store: str | None = None,
    db: str | None = None,
    user: str | None = None,
) -> Config:
    """Put the configuration together; the keyword arguments are the flags.

    Raises UsageError, which names the file, variable or flag and never holds a value that may be secret.
    """
    found = survey(environ, file=file, store=store, db=db, user=user)
    if found.faults:
        raise next(iter(found.faults.values()))
    return Config(
        **{name: found.settings[name].value for name in _KEYS},
        origins={name: found.settings[name].origin for name in _KEYS},
    )


def survey(
    environ: Mapping[str, str],
    *,
    file: str | None = None,
    store: str | None = None,
    db: str | None = None,
    user: str | None = None,
) -> Survey:
    """All that can be told of the configuration, and what is wrong with it. Takes what ``load_config`` takes."""
    flags = {"store": store, "db": db, "user": user}
    given = {name: Setting(value, f"--{name}") for name, value in flags.items() if value is not None}
    place = _file_place(environ, file)
    faults: dict[str, UsageError] = {}
    told: dict[str, Setting] = {"user": Setting("thoth", DEFAULT), "cache": Setting(_default_cache(), DEFAULT)}
    with _noted(faults, "config"):
        told |= _from_file(place)
    told |= {**_from_environment(environ), **given}
    _imply_originals(environ, told)
    checks = {"store": _check_store, "db": _check_db, "user": _check_user, "cache": _check_cache}
    for name, check in checks.items():
        with _noted(faults, name):
            check(told.get(name))
    with _noted(faults, "store"):
        told = told if told.keys() >= {"store", "db"} else {**_default_places(told["user"].value), **told}
    return Survey({name: told[name] for name in _KEYS if name in told}, place, faults)


@contextmanager
def _noted(faults: dict[str, UsageError], name: str) -> Iterator[None]:
    """What cannot be used is noted, and the rest is looked at all the same."""
    try:
        yield
    except UsageError as error:
        faults.setdefault(name, error)


def without_credentials(url: str) -> str:
    """A URL without what may be secret: user and password before its host, and its query."""
    return _CREDENTIALS.sub("", url)


# ---- the environment ------------------------------------------------------------------------------


def _from_environment(environ: Mapping[str, str]) -> dict[str, Setting]:
    """What the variables say; one that is empty is not set."""
    names = {
        "store": ("THOTH_STORE",),
        "db": ("THOTH_DB",),
        "user": ("THOTH_USER", "MANTA_USER"),
        "cache": ("THOTH_CACHE",),
    }
    found = {key: _first_set(environ, variables) for key, variables in names.items()}
    return {key: setting for key, setting in found.items() if setting is not None}


def _first_set(environ: Mapping[str, str], variables: Iterable[str]) -> Setting | None:
    for variable in variables:
        if environ.get(variable):
            return Setting(environ[variable], variable)
    return None


def _imply_originals(environ: Mapping[str, str], told: dict[str, Setting]) -> None:
    """What the original's variables ask for where nothing else is named: it must not silently be something else."""
    if environ.get("MANTA_URL"):
        told.setdefault("store", Setting("manta", "MANTA_URL"))
    if environ.get("THOTH_DB_HOST"):
        told.setdefault("db", Setting(_RETHINK, "THOTH_DB_HOST"))


def _check_store(store: Setting | None) -> None:
    """Dumps meant for Manta must not land in a local directory."""
    if store is not None and store.value == "manta":
        raise UsageError(
            f"{store.origin} asks for Manta as the store, which this version cannot use yet;"
            " name a directory: THOTH_STORE=file:///ABSOLUTE/DIRECTORY"
        )


def _check_db(db: Setting | None) -> None:
    if db is not None and db.value == _RETHINK:
        raise UsageError(
            f"{db.origin} asks for RethinkDB as the index, which this version cannot use yet;"
            " name a file: THOTH_DB=sqlite:///ABSOLUTE/FILE"
        )


def _check_user(user: Setting | None) -> None:
    if user is not None and not _USER.fullmatch(user.value):
        raise UsageError(
            f"{user.origin}: a user is part of every dump's name: 1 to 128 of letters, digits, '.', '_', '-'"
            " and '@', a letter or digit first"
        )


def _check_cache(cache: Setting | None) -> None:
    if cache is not None and (not cache.value.startswith("/") or "\0" in cache.value):
        raise UsageError(f"{cache.origin}: the cache is a directory by its absolute path, such as {_CACHE}")


# ---- the file -------------------------------------------------------------------------------------


def _file_place(environ: Mapping[str, str], flag: str | None) -> Setting | None:
    """The file that is to be read; DEFAULT as its origin: it may be missing. None for a user who has no home."""
    if flag or environ.get("THOTH_CONFIG"):
        return Setting(flag, "--config") if flag else Setting(environ["THOTH_CONFIG"], "THOTH_CONFIG")
    path = _own_place("user_config_path", "config.toml")
    return None if path is None else Setting(str(path), DEFAULT)


def _from_file(place: Setting | None) -> dict[str, Setting]:
    if place is None:
        return {}
    path = Path(place.value)
    table = _parsed(path, _read(path, must_exist=place.origin != DEFAULT))
    for key, value in table.items():
        if key not in _KEYS:
            raise UsageError(f"{path}: unknown key {key!r}; known are {', '.join(_KEYS)}")
        if not isinstance(value, str) or not value:
            raise UsageError(f"{path}: {key}: must be a text in quotes, not {_kind(value)}")
    return {key: Setting(value, str(path)) for key, value in table.items()}


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
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{path}: not TOML: {error}") from error


def _kind(value: object) -> str:
    kinds = {str: "an empty one", bool: "true or false", dict: "a table", list: "a list"}
    return kinds.get(type(value), "a number or date")


# ---- where things are when nobody says ------------------------------------------------------------


def _default_cache() -> str:
    uid = os.geteuid()
    return _OWN_CACHE.format(uid=uid) if uid else _CACHE


def _default_places(user: str) -> dict[str, Setting]:
    """A directory, and a database for each user: in one for all, a dump of two users would be one row."""
    from urllib.parse import quote  # noqa: PLC0415 - as platformdirs below

    home = _own_place("user_data_path")
    if home is None:
        raise UsageError("there is no home directory to keep dumps in; name THOTH_STORE and THOTH_DB")
    place = quote(os.fsencode(home))
    return {
        "store": Setting(f"file://{place}/store", DEFAULT),
        "db": Setting(f"sqlite://{place}/{user}.db", DEFAULT),
    }


def _own_place(kind: str, *below: str) -> Path | None:
    """Our directory among the user's; None for a user who has no home."""
    import platformdirs  # noqa: PLC0415 - for those who are told less than everything

    try:
        place: Path = getattr(platformdirs, kind)("thoth", appauthor=False)
    except RuntimeError:
        return None
    return place.joinpath(*below) if place.is_absolute() else None
