"""Where dumps lie: SmartOS's places, Linux's, or those of the configuration, narrowed to the types asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sdc_thoth.listing import Place
from thoth import UsageError

ALL = "all"

# Sources: coreadm's and dumpadm's settings on SmartOS, and the places that manta-thoth searches.
_SMARTOS = (
    Place("core", "SunOS", "/zones/*/cores", "core.*"),
    Place("global", "SunOS", "/zones/global/cores", "core.*"),
    Place("gcore", "SunOS", "/var/tmp/thoth", "core.*"),  # noqa: S108 - read on the node, never written
    Place("gcore", "SunOS", "/zones/*/root/var/tmp/thoth", "core.*"),
    Place("crash", "SunOS", "/var/crash/volatile", "vmdump.*"),
)
# Cores lie where the kernel's core_pattern says, or where systemd-coredump and apport put them; kernel dumps where
# kdump-tools (dump.*) and kexec-tools (vmcore) do.
_LINUX = (
    Place("core", "Linux", "@core_pattern", "*"),
    Place("core", "Linux", "/var/lib/systemd/coredump", "core.*"),
    Place("core", "Linux", "/var/lib/apport/coredump", "core.*"),
    Place("gcore", "Linux", "/var/tmp/thoth", "core.*"),  # noqa: S108 - as above
    Place("crash", "Linux", "/var/crash/*", "dump.*"),
    Place("crash", "Linux", "/var/crash/*", "vmcore"),
)
_TYPES = frozenset(place.type for place in (*_SMARTOS, *_LINUX))
_EXECUTABLE = re.compile(r"[A-Za-z0-9._+@:-]{1,64}")


def places(
    types: Sequence[str], core: Sequence[tuple[str, str]] = (), crash: Sequence[tuple[str, str]] = ()
) -> tuple[Place, ...]:
    """The places to search for dumps of these types: ``all``, a type, or the name of an executable.

    By that name cores are found whose file is called after it; whose core a file is it does not tell otherwise.
    ``core`` and ``crash`` are the configuration's (directory, name) patterns; where they are given they stand in for
    the places of that type, on nodes of any system. Raises UsageError for what can be neither a type nor a name.
    """
    known = _configured(core, crash)
    chosen: list[Place] = []
    for type in types:
        if type == ALL:
            # The global zone's cores are among those of all zones.
            chosen += [place for place in known if place.type != "global"]
        elif any(place.type == type for place in known):
            chosen += [place for place in known if place.type == type]
        elif type in _TYPES:
            raise UsageError(f"--type {type}: there is no such place, since [paths] says where cores lie")
        else:
            chosen += _of_executable(type, known)
    return tuple(dict.fromkeys(chosen))


def is_searched(path: bytes, system: str, searched: Sequence[Place], known: Sequence[Place]) -> bool:
    """Whether the search of these places, on a node of that system, lists such a path wherever it lies there.

    Where a kernel puts cores only its node knows: that is wherever none of the ``known`` places is. With the name of
    an executable it may be this one's core or another's.
    """
    fixed = [place for place in _of_system(searched, system) if not place.is_of_kernel]
    if any(_holds(place, path) for place in fixed):
        return True
    of_kernel = any(place.is_of_kernel and place.name == "*" for place in _of_system(searched, system))
    elsewhere = [place for place in _of_system(known, system) if not place.is_of_kernel]
    return of_kernel and not any(_holds(place, path) for place in elsewhere)


def _of_system(places: Sequence[Place], system: str) -> list[Place]:
    return [place for place in places if place.system in ("-", system)]


def _holds(place: Place, path: bytes) -> bool:
    directory, _, name = path.rpartition(b"/")
    return place.allows(place.type, directory or b"/", name)


def _configured(core: Sequence[tuple[str, str]], crash: Sequence[tuple[str, str]]) -> list[Place]:
    replaced = {"core": core, "crash": crash}
    kept = [place for place in (*_SMARTOS, *_LINUX) if not replaced.get(place.type)]
    if core:
        kept = [place for place in kept if place.type != "global"]
    for type, patterns in replaced.items():
        kept += [Place(type, "-", directory, name) for directory, name in patterns]
    return kept


def _of_executable(name: str, known: Sequence[Place]) -> list[Place]:
    if not _EXECUTABLE.fullmatch(name):
        raise UsageError(f"--type: {name!r}: neither all, core, global, gcore or crash, nor an executable's name")
    found = []
    for place in known:
        if place.type == "core" and place.directory == "@core_pattern":
            found.append(Place("core", place.system, place.directory, name))
        elif place.type == "core":
            pattern = f"core.{name}.*" if place.name.startswith("core.") else f"*{name}*"
            found.append(Place("core", place.system, place.directory, pattern))
    return found
