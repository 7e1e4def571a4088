"""What Thoth is told: defaults < files < environment < flags, each value with where it came from.

The first file is TOML (``thoth.settings_file`` has its keys). It is the one that ``--config`` or THOTH_CONFIG names,
which then has to exist, or else ``thoth/config.toml`` in the user's configuration directory (``~/.config`` on most
systems), which may be missing. The second is the original's, ``~/.thoth.config.json``. An index that none of these
names may still be named by ``config.json`` in the store, which whoever opens that looks at (``thoth.library``).
No other module reads the environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from thoth.errors import UsageError
from thoth.settings import (
    DEFAULT,
    ENGINES,
    MANTA,
    NEVER,
    Config,
    MantaSettings,
    Setting,
    described,
    without_credentials,
)
from thoth.settings_file import (
    json_database,
    origin_with,
    original_variables,
    overruled,
    overruling,
    rethink_url,
    toml_settings,
    with_password,
)
from thoth.sizes import parsed_size

__all__ = [
    "DEFAULT",
    "ENGINES",
    "MANTA",
    "Config",
    "MantaSettings",
    "Setting",
    "Survey",
    "described",
    "environment",
    "load_config",
    "survey",
    "without_credentials",
]

_CACHE: Final = "/var/tmp/thoth/cache"  # noqa: S108 - where the original has it; what opens it checks whose it is
_OWN_CACHE: Final = "/var/tmp/thoth-{uid}/cache"  # noqa: S108 - of an ordinary user: root's is closed to others
# Part of every name in the store, of the database's name, and of paths: Manta's logins, without '%'.
_USER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}")

_KEYS: Final = ("store", "db", "user", "cache")
_FOR_STACKS: Final = ("stack", "debuginfod", "debuginfod_cache")  # shown only where somebody has set them
_MANTA_KEYS: Final = ("url", "user", "subuser", "key_id", "role", "tls_insecure", "no_auth")
_FLAGS: Final = ("manta.tls_insecure", "manta.no_auth")
_TOML: Final = {
    **dict.fromkeys((*_KEYS, "debuginfod"), str),
    "stack": list,
    **{key: bool if key in _FLAGS else str for key in (f"manta.{each}" for each in _MANTA_KEYS)},
    "manta.parts_from": int,
}


def environment() -> Mapping[str, str]:
    """The environment of this process. Nobody else looks at it."""
    return os.environ


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found of a configuration, whether or not it can be used."""

    settings: Mapping[str, Setting]  # by the names in Config; a store or index that nobody can tell is not among them
    file: Setting | None  # the file that is read, there or not, and who names it; None: there is no home for it
    faults: Mapping[str, UsageError]  # what is wrong with which setting; "config": with a file
    manta: MantaSettings
    over: Mapping[str, str] = field(default_factory=dict, repr=False)  # as in Config

    def config(self) -> Config:
        """The configuration, whether or not it can be used; what nobody can tell is empty in it."""
        nothing = Setting("", DEFAULT)
        told = {name: self.settings.get(name, nothing) for name in _KEYS}
        more = {name: self.settings[name] for name in _FOR_STACKS if name in self.settings}
        return Config(
            **{name: setting.value for name, setting in told.items()},
            origins={name: setting.origin for name, setting in (told | more).items()},
            manta=self.manta,
            over=self.over,
            stack=_engines(self.settings["stack"].value) if "stack" in self.settings else ENGINES[:1],
            debuginfod=self.settings["debuginfod"].value if "debuginfod" in self.settings else "",
            debuginfod_cache=self.settings["debuginfod_cache"].value if "debuginfod_cache" in self.settings else "",
        )


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
    return found.config()


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
    told: dict[str, Setting] = {"cache": Setting(_default_cache(), DEFAULT)}
    with _noted(faults, "config"):
        told |= _from_file(place)
    told |= _from_environment(environ)
    told |= given
    told.setdefault("user", told.get("manta.user", Setting("thoth", DEFAULT)))
    if "manta.url" in told:  # dumps meant for Manta must not land in a directory
        told.setdefault("store", Setting(MANTA, told["manta.url"].origin))
    over: Mapping[str, str] = {}
    with _noted(faults, "db"):
        told |= _rethink(environ, told)
        over = {} if "db" in told else overruling(original_variables(environ))
    if "debuginfod" in told and "debuginfod_cache" not in told:
        told |= _debuginfod_cache()
    checks = {
        "store": _check_store,
        "user": _check_user,
        "cache": _check_cache,
        "stack": _check_stack,
        "debuginfod": _check_debuginfod,
        "manta.parts_from": _check_parts,
    }
    for name, check in checks.items():
        with _noted(faults, name):
            check(told)
    with _noted(faults, "store"):
        told = told if told.keys() >= {"store", "db"} else {**_default_places(told["user"].value), **told}
    manta = _manta(told) if _is_manta(told) else MantaSettings()
    return Survey(_in_order(told), place, faults, manta, over)


def _in_order(told: Mapping[str, Setting]) -> dict[str, Setting]:
    """The settings in the order in which they are shown; those of Manta where it is the store."""
    ours = ("manta.parts_from", "manta.no_jobs", "manta.proxy")
    always = (*_KEYS, *_FOR_STACKS)
    names = [*always, *(f"manta.{each}" for each in _MANTA_KEYS), *ours] if _is_manta(told) else always
    return {name: told[name] for name in names if name in told}


@contextmanager
def _noted(faults: dict[str, UsageError], name: str) -> Iterator[None]:
    """What cannot be used is noted, and the rest is looked at all the same."""
    try:
        yield
    except UsageError as error:
        faults.setdefault(name, error)


# ---- the environment ------------------------------------------------------------------------------


_VARIABLES: Final = {
    "store": ("THOTH_STORE",),
    "db": ("THOTH_DB",),
    "user": ("THOTH_USER", "MANTA_USER"),
    "cache": ("THOTH_CACHE",),
    "stack": ("THOTH_STACK",),
    "debuginfod": ("DEBUGINFOD_URLS",),
    "debuginfod_cache": ("DEBUGINFOD_CACHE_PATH",),
    **{f"manta.{each}": (f"MANTA_{each.upper()}",) for each in _MANTA_KEYS},
    "manta.parts_from": ("THOTH_PARTS_FROM",),
    "manta.no_jobs": ("THOTH_NO_JOBS",),
    "manta.proxy": ("THOTH_PROXY",),
    "manta.home": ("HOME",),
    "manta.agent": ("SSH_AUTH_SOCK",),
}


def _from_environment(environ: Mapping[str, str]) -> dict[str, Setting]:
    """What the variables say; one that is empty is not set."""
    found = {key: _first_set(environ, variables) for key, variables in _VARIABLES.items()}
    # A URL, of which nobody is shown the password.
    if (proxy := found["manta.proxy"]) and "://" not in proxy.value:
        found["manta.proxy"] = replace(proxy, value=f"http://{proxy.value}")
    return {key: setting for key, setting in found.items() if setting is not None}


def _first_set(environ: Mapping[str, str], variables: Iterable[str]) -> Setting | None:
    for variable in variables:
        if environ.get(variable):
            return Setting(environ[variable], variable)
    return None


def _rethink(environ: Mapping[str, str], told: Mapping[str, Setting]) -> dict[str, Setting]:
    """The index, where the original's variables or its file have a say in it. Raises UsageError."""
    named = told.get("db")
    values = original_variables(environ)
    if named is not None and named.origin in ("THOTH_DB", "--db"):
        return {"db": Setting(with_password(named.value, values.get("authKey", "")), named.origin)}
    if "host" in values:
        return {"db": Setting(rethink_url(values, "THOTH_DB_HOST", told["user"].value), "THOTH_DB_HOST")}
    over = overruling(values)
    if named is None:
        return _from_original_file(environ, told["user"].value, over)
    url = overruled(named.value, over)
    return {"db": Setting(url, origin_with(named.origin, {} if url == named.value else over))}


# ---- what is wrong --------------------------------------------------------------------------------


def _is_manta(told: Mapping[str, Setting]) -> bool:
    return "store" in told and told["store"].value == MANTA


def _manta(told: Mapping[str, Setting]) -> MantaSettings:
    values = {key.removeprefix("manta."): each.value for key, each in told.items() if key.startswith("manta.")}
    url, state = values.get("url", ""), _own_place("user_state_path", "uploads")
    return MantaSettings(
        url=url if not url or url.startswith("http") else f"https://{url}",  # as node-manta has it
        user=values.get("user", ""),
        subuser=values.get("subuser", ""),
        key_id=values.get("key_id", ""),
        roles=tuple(role for role in values.get("role", "").replace(" ", "").split(",") if role),
        tls_insecure=values.get("tls_insecure", "0") != "0",
        no_auth=values.get("no_auth", "0") != "0",
        parts_from=_parts_from(values.get("parts_from", "")),
        no_jobs=values.get("no_jobs", "0") != "0",
        proxy=values.get("proxy", ""),
        home=values.get("home", ""),
        agent=values.get("agent", ""),
        unfinished="" if state is None else str(state),
    )


def _check_store(told: Mapping[str, Setting]) -> None:
    """Manta cannot be reached with less than the original asks for."""
    if not _is_manta(told):
        return
    needed = {"url": "its address", "user": "your account there", "key_id": "the fingerprint of your key"}
    waived = told.get("manta.no_auth", Setting("", DEFAULT)).value in ("true", "1")
    for key, what in needed.items():
        if f"manta.{key}" not in told and (key == "url" or not waived):
            how = "; see: ssh-keygen -l -f ~/.ssh/id_rsa.pub" if key == "key_id" else ""
            raise UsageError(
                f"{told['store'].origin} asks for Manta as the store: set MANTA_{key.upper()} to {what}{how}"
            )
    url = told["manta.url"]
    if without_credentials(url.value) != url.value:
        raise UsageError(f"{url.origin}: Manta knows no passwords; write https://HOST alone")
    role = told.get("manta.role", Setting("", DEFAULT))
    if not (role.value.isascii() and role.value.isprintable()):
        raise UsageError(f"{role.origin}: roles are names in ASCII, with a comma between two of them")


def _parts_from(value: str) -> int | None:
    return NEVER if value == "none" else parsed_size(value)


def _check_parts(told: Mapping[str, Setting]) -> None:
    setting = told.get("manta.parts_from")
    if setting and _is_manta(told) and _parts_from(setting.value) is None:
        raise UsageError(
            f"{setting.origin}: parts_from is the size from which on dumps go to Manta in parts: a whole number and"
            " K, M, G, T or P, as in 256M; or none: never in parts"
        )


def _check_user(told: Mapping[str, Setting]) -> None:
    user = told["user"]
    if not _USER.fullmatch(user.value):
        raise UsageError(
            f"{user.origin}: a user is part of every dump's name: 1 to 128 of letters, digits, '.', '_', '-'"
            " and '@', a letter or digit first"
        )


def _check_cache(told: Mapping[str, Setting]) -> None:
    cache = told["cache"]
    if not cache.value.startswith("/") or "\0" in cache.value:
        raise UsageError(f"{cache.origin}: the cache is a directory by its absolute path, such as {_CACHE}")


def _engines(value: str) -> tuple[str, ...]:
    return tuple(value.replace(",", " ").split())


def _check_stack(told: Mapping[str, Setting]) -> None:
    setting = told.get("stack")
    engines = _engines(setting.value) if setting else ENGINES[:1]
    if setting and (not engines or len({*engines}) < len(engines) or {*engines} - {*ENGINES}):
        raise UsageError(
            f"{setting.origin}: stack names who is asked for stacks, in order: some of {', '.join(ENGINES)}"
        )


def _check_debuginfod(told: Mapping[str, Setting]) -> None:
    servers, cache = told.get("debuginfod"), told.get("debuginfod_cache")
    if servers and not (cache and cache.value.startswith("/") and "\0" not in cache.value):
        where = cache.origin if cache else servers.origin
        raise UsageError(f"{where}: what debuginfod servers send is kept in DEBUGINFOD_CACHE_PATH, an absolute path")


# ---- the files ------------------------------------------------------------------------------------


def _file_place(environ: Mapping[str, str], flag: str | None) -> Setting | None:
    """The file that is to be read; DEFAULT as its origin: it may be missing. None for a user who has no home."""
    if flag or environ.get("THOTH_CONFIG"):
        return Setting(flag, "--config") if flag else Setting(environ["THOTH_CONFIG"], "THOTH_CONFIG")
    path = _own_place("user_config_path", "config.toml")
    return None if path is None else Setting(str(path), DEFAULT)


def _from_file(place: Setting | None) -> dict[str, Setting]:
    if place is None:
        return {}
    told = toml_settings(Path(place.value), _TOML, must_exist=place.origin != DEFAULT)
    return {key: Setting(value, place.value) for key, value in told.items()}


def _from_original_file(environ: Mapping[str, str], user: str, over: Mapping[str, str]) -> dict[str, Setting]:
    """The index that ``~/.thoth.config.json`` names, with what variables say of it."""
    if not environ.get("HOME"):
        return {}
    path = Path(environ["HOME"]) / ".thoth.config.json"
    url = json_database(path, user, over)
    return {} if url is None else {"db": Setting(url, origin_with(str(path), over))}


# ---- where things are when nobody says ------------------------------------------------------------


def _default_cache() -> str:
    uid = os.geteuid()
    return _OWN_CACHE.format(uid=uid) if uid else _CACHE


def _debuginfod_cache() -> dict[str, Setting]:
    """Where debuginfod-find has its own."""
    place = _own_place("user_cache_path", of="debuginfod_client")
    return {} if place is None else {"debuginfod_cache": Setting(str(place), DEFAULT)}


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


def _own_place(kind: str, *below: str, of: str = "thoth") -> Path | None:
    """Our directory among the user's, or another program's; None for a user who has no home."""
    import platformdirs  # noqa: PLC0415 - for those who are told less than everything

    try:
        place: Path = getattr(platformdirs, kind)(of, appauthor=False)
    except RuntimeError:
        return None
    return place.joinpath(*below) if place.is_absolute() else None
