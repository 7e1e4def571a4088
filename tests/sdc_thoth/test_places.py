"""Which places are searched for which types."""

from __future__ import annotations

import pytest

from sdc_thoth.listing import Place
from sdc_thoth.places import is_searched, places
from thoth import UsageError


def of(found: tuple[Place, ...], system: str) -> list[str]:
    return [f"{place.directory}/{place.name}" for place in found if place.system == system]


def test_all_of_a_smartos_node() -> None:
    assert of(places(["all"]), "SunOS") == [
        "/zones/*/cores/core.*",
        "/var/tmp/thoth/core.*",
        "/zones/*/root/var/tmp/thoth/core.*",
        "/var/crash/volatile/vmdump.*",
    ]


def test_all_of_a_linux_node() -> None:
    assert of(places(["all"]), "Linux") == [
        "@core_pattern/*",
        "/var/lib/systemd/coredump/core.*",
        "/var/lib/apport/coredump/core.*",
        "/var/tmp/thoth/core.*",
        "/var/crash/*/dump.*",
        "/var/crash/*/vmcore",
    ]


@pytest.mark.parametrize("type", ["core", "global", "gcore", "crash"])
def test_one_type(type: str) -> None:
    assert {place.type for place in places([type])} == {type}


def test_several_types_and_none_twice() -> None:
    both = places(["crash", "gcore", "crash"])
    assert {place.type for place in both} == {"crash", "gcore"}
    assert len(set(both)) == len(both)
    assert set(places(["all", "core"])) == set(places(["all"]))


def test_an_executable() -> None:
    found = places(["nginx"])
    assert of(found, "SunOS") == ["/zones/*/cores/core.nginx.*"]
    assert of(found, "Linux") == [
        "@core_pattern/nginx",
        "/var/lib/systemd/coredump/core.nginx.*",
        "/var/lib/apport/coredump/core.nginx.*",
    ]
    assert {place.type for place in found} == {"core"}


@pytest.mark.parametrize("name", ["", "*", "a b", "a/b", "$(x)", "core.*", "a\n", "x" * 65, "[a]", "ü"])
def test_what_is_no_executable(name: str) -> None:
    with pytest.raises(UsageError, match="--type: "):
        places([name])


def test_configured_places_stand_in_for_those_of_their_type() -> None:
    found = places(["all"], core=[("/dumps/*", "*.core")])
    assert Place("core", "-", "/dumps/*", "*.core") in found
    assert [place for place in found if place.type == "core"] == [Place("core", "-", "/dumps/*", "*.core")]
    assert [place for place in found if place.type == "crash"] == list(places(["crash"]))
    assert [place for place in found if place.type == "gcore"] == list(places(["gcore"]))


def test_configured_places_leave_no_global_ones() -> None:
    with_own = places(["core"], core=[("/dumps", "*.core")])
    assert with_own == (Place("core", "-", "/dumps", "*.core"),)
    with pytest.raises(UsageError, match="--type global"):
        places(["global"], core=[("/dumps", "*.core")])
    assert places(["nginx"], core=[("/dumps", "*.core")]) == (Place("core", "-", "/dumps", "*nginx*"),)


def test_a_place_allows_what_its_patterns_match() -> None:
    place = Place("core", "-", "/zones/*/cores", "core.?")
    assert place.allows("core", b"/zones/a b\n/cores", b"core.\xff")
    for directory, name in (
        (b"/zones/a/b/cores", b"core.1"),
        (b"/zones/a/cores", b"core.12"),
        (b"/zones/a/coresX", b"core.1"),
    ):
        assert not place.allows("core", directory, name)
    assert not place.allows("crash", b"/zones/a/cores", b"core.1")


# ---- what a pass has looked at -------------------------------------------------------------------------------------

KNOWN = places(["all"], [], [("/dumps", "vmcore*")])


@pytest.mark.parametrize(
    ("types", "system", "path", "looked_at"),
    [
        ("all", "Linux", b"/var/tmp/thoth/core.1", True),
        ("all", "Linux", b"/dumps/vmcore.1", True),
        ("crash", "Linux", b"/dumps/vmcore.1", True),
        ("crash", "SunOS", b"/dumps/vmcore.1", True),
        ("crash", "Linux", b"/dumps/a/vmcore.1", False),
        ("crash", "Linux", b"/var/tmp/thoth/core.1", False),
        ("core", "Linux", b"/dumps/vmcore.1", False),
        ("core", "Linux", b"/var/lib/apport/coredump/core.1", True),
        # Only the node knows where its kernel puts cores.
        ("core", "Linux", b"/srv/x/1", True),
        ("core", "Linux", b"/core.1", True),
        ("core", "SunOS", b"/srv/x/1", False),
        ("core", "Linux", b"/var/tmp/thoth/core.1", False),
        ("nginx", "Linux", b"/srv/nginx/1", False),
        ("nginx", "Linux", b"/var/lib/apport/coredump/core.nginx.1", True),
        ("nginx", "Linux", b"/var/lib/apport/coredump/core.sh.1", False),
        # What lies on nodes of another system is not searched here.
        ("all", "SunOS", b"/zones/a/cores/core.1", True),
        ("global", "SunOS", b"/zones/a/cores/core.1", False),
        ("crash", "Linux", b"/zones/a/cores/core.1", False),
    ],
)
def test_what_a_pass_has_looked_at(types: str, system: str, path: bytes, looked_at: bool) -> None:
    searched = places([types], [], [("/dumps", "vmcore*")])
    assert is_searched(path, system, searched, KNOWN) is looked_at


def test_a_configured_place_in_the_root_directory() -> None:
    searched = places(["core"], [("/", "core.*")])
    assert is_searched(b"/core.1", "Linux", searched, searched)
