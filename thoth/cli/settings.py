"""``thoth config``: how the command is set up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from thoth.cli.options import add_places
from thoth.errors import IndexFailure, StoreError, ThothError, UsageError
from thoth.render import UNSET, escaped, json_text

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Mapping

    from thoth.cli.console import Console
    from thoth.config import Setting, Survey
    from thoth.model import Json

# ---- thoth config ---------------------------------------------------------------------------------

_PLACES: Final = ("store", "db", "cache", "config")  # settings that name something which is there or not


def declare_config(parser: ArgumentParser) -> None:
    parser.description = (
        "Show each setting, where it came from, and whether what it names is there.\n"
        "What may be secret, as a password in a URL, is left out."
    )
    parser.epilog = """\
examples:
  thoth config
  THOTH_STORE=file:///dumps/store thoth config
  thoth config --json | jq -r .settings.store.value

A flag overrules the environment, the environment the file, the file the default.
--json: {"version": 1, "settings": {NAME: {"value", "origin", "there"}}, "errors": [..]}; NAME is store, db,
user, cache, manta.url and more of Manta where that is the store, or config, the configuration file.
db is left out when the store, which may name it, does not answer. there is true, false, or null where
that cannot be told.
exit status: 0 the configuration can be used; 1 it cannot, and a line on stderr says why
"""
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    add_places(parser)
    parser.set_defaults(run=config)


def config(arguments: Namespace, console: Console) -> int:
    """Show the configuration, also one that cannot be used."""
    from thoth.config import environment, survey

    told = survey(environment(), file=arguments.config, store=arguments.store, db=arguments.db, user=arguments.user)
    faults: dict[str, ThothError] = dict(told.faults)
    found = _with_shared_index(told, faults)
    settings = found.settings if found.file is None else {**found.settings, "config": found.file}
    there = {name: _is_there(found, name, faults) for name in settings if name in _PLACES}
    if arguments.json:
        console.block(json_text(_document(settings, there, faults), indent=4) + "\n")
    else:
        for line in _lines(settings, there):
            console.result(line)
    for fault in faults.values():
        console.failure(fault)
    return 1 if faults else 0


def _with_shared_index(found: Survey, faults: dict[str, ThothError]) -> Survey:
    """The same with the index that the store names, if that is asked; without one when it cannot be told."""
    from dataclasses import replace

    from thoth.config import DEFAULT
    from thoth.library import shared_index

    if faults or found.settings["db"].origin != DEFAULT:
        return found
    told = dict(found.settings)
    _is_there(found, "store", faults)
    try:
        shared = None if faults else shared_index(found.config())
    except StoreError as error:
        faults["store"] = error
    except UsageError as error:
        faults["db"] = error
    else:
        told |= {} if shared is None else {"db": shared}
    if faults:
        del told["db"]
    return replace(found, settings=told)


def _is_there(found: Survey, name: str, faults: dict[str, ThothError]) -> bool | None:
    """Whether what a setting names is there; None: it cannot be told. What is wrong with it goes into ``faults``."""
    from pathlib import Path

    if name in faults and name != "config":
        return None
    try:
        if name in ("store", "db"):
            return _is_made(found, name)
        if name == "cache":
            return Path(found.settings[name].value).is_dir()
        return found.file is not None and Path(found.file.value).is_file()
    except (UsageError, StoreError, IndexFailure) as error:
        faults[name] = error
    except OSError:  # we may not look
        pass
    return None


def _is_made(found: Survey, name: str) -> bool:
    from thoth.library import is_made

    return is_made(found.config(), name)


def _document(
    settings: Mapping[str, Setting], there: Mapping[str, bool | None], faults: Mapping[str, ThothError]
) -> Json:
    told = {
        name: {"value": _shown(name, each.value), "origin": each.origin, "there": there.get(name)}
        for name, each in settings.items()
    }
    return {"version": 1, "settings": told, "errors": [str(each) for each in faults.values()]}


def _lines(settings: Mapping[str, Setting], there: Mapping[str, bool | None]) -> list[str]:
    rows = [("SETTING", "VALUE", "FROM", "STATE")]
    for name, each in settings.items():
        rows.append((name, escaped(_shown(name, each.value)), escaped(each.origin), _state(name, there)))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [
        "  ".join([*(f"{text:<{width}}" for text, width in zip(row, widths, strict=False)), row[3]]) for row in rows
    ]


def _shown(name: str, value: str) -> str:
    """A value without what may be secret in it."""
    from pathlib import Path

    from thoth.config import without_credentials

    if name == "manta.key_id" and value:
        from thoth.store.keys import names_a_key

        return value if names_a_key(value, Path.home()) else "(not shown: neither a fingerprint nor a file)"
    return without_credentials(value)


def _state(name: str, there: Mapping[str, bool | None]) -> str:
    if there.get(name) is None:
        return UNSET
    if there[name]:
        return "there"
    return "not there" if name == "config" else "not made yet"
