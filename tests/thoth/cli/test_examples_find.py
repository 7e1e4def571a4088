"""The examples of ``ls``, ``info`` and ``report`` in the original's README: the same words, the same output."""

from __future__ import annotations

import json
import re
import time
from calendar import timegm
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.thoth.cli.conftest import Run, Shell
from thoth.library import Thoth
from thoth.model import DumpInfo

HEADER = "NAME             TYPE  TIME                NODE/CMD         TICKET\n"
SIX_HOURS = """\
e1f5422b892d9394 core  2017-11-17T19:34:29 java             -
c04110bc8190a84e core  2017-11-17T19:39:52 node             -
b9379570b4a9a224 core  2017-11-17T19:39:52 node             -
5f1171019ce419cb core  2017-11-17T19:51:01 node             -
713f9e8b48559acd core  2017-11-17T19:55:57 node             -
d91719939666de40 core  2017-11-17T20:05:57 node             -
beaa65d3548ac96f core  2017-11-17T20:23:19 pg_prefaulter    -
5841ba86a2b198be core  2017-11-17T20:53:06 node             -
3d8921ce583dff68 core  2017-11-17T20:54:06 node             -
34a8661c049456b1 core  2017-11-17T21:14:09 node             -
6d75f1cd30898f48 core  2017-11-17T21:31:19 node             -
cc2328f7d8a6c4ad core  2017-11-17T21:41:15 node             -
b0b6f4ed9ab418ce core  2017-11-17T21:51:20 node             -
5d64e695505d15c9 core  2017-11-17T22:11:18 node             -
96d2271d81e4cd63 core  2017-11-17T22:21:17 node             -
71aff9c315553b03 core  2017-11-17T23:31:14 node             -
72f18495c7f54841 core  2017-11-18T00:21:17 node             -
"""
HUNDRED_DAYS = """\
0ecc8338c5949ea7 core  2017-08-10T01:57:56 svc.startd       -
925de938d529e58b core  2017-08-18T03:51:27 svcs             -
1d16db174473d8b5 core  2017-08-18T04:53:30 svcs             -
2b4b3f5931e4b945 core  2017-08-18T05:39:14 svcs             -
c5761bf75ea51a3f core  2017-08-18T08:27:01 svcs             -
2204949c1735126b core  2017-08-18T15:08:35 svcs             -
bc987a441a10da48 core  2017-08-24T17:44:41 svc.startd       -
d7ba3510178394c3 core  2017-09-06T12:53:45 svcs             -
48157650dc2d4204 core  2017-09-07T00:24:59 svccfg           -
c48278b2930f991c core  2017-09-07T01:09:49 svccfg           -
14918d63fb7239da core  2017-09-26T01:26:44 svc.startd       -
9a29ead38c89930a core  2017-10-01T08:22:37 svc.configd      -
d36a11c974f7f03d core  2017-10-01T08:22:37 svc.startd       -
463412ce271ec7ec core  2017-10-02T15:39:23 svc.startd       -
"""
FROM_STDIN = """\
3260a5e49918260c core  2017-11-16T22:30:22 pg_prefaulter    -
5aaa91149e94a91f core  2017-11-17T11:07:43 pg_prefaulter    -
04a681f27ffcd199 core  2017-11-17T14:12:27 pg_prefaulter    -
3f7a8bde5a907afa core  2017-11-17T14:42:03 pg_prefaulter    -
f12ea8712e8b2586 core  2017-11-17T17:22:21 pg_prefaulter    -
"""
DUMPS = """\
3f7a8bde5a907afab7f966b9963c7d10
3260a5e49918260ccdc1f94830c937c1
f12ea8712e8b2586f062b03808b1c292
5aaa91149e94a91f66c76b00ec1de521
04a681f27ffcd19952d8efb75006c490
"""
FIVE = """\
00103a107b5db8f79ebc77782b707d07
0071f6c50b39f1a917ba21a957f43e3f
0021e9c447815c1f7a91e1af2672543b
00d7ae803e01365798654c4dbeea5b28
012c3f942d0b7de6b7dbc8eed8798b86
"""
TICKET = """\
/thoth/stor/thoth/baef9f79a473580347b6338574007953/core.svc.startd.23308 [
  "libc.so.1`_lwp_kill+0x15()",
  "libc.so.1`raise+0x2b()",
  "libc.so.1`abort+0x10e()",
  "utmpx_postfork+0x44()",
  "fork_common+0x186()",
  "fork_configd+0x8d()",
  "fork_configd_thread+0x2ca()",
  "libc.so.1`_thrp_setup+0x88()",
  "libc.so.1`_lwp_start()"
]
/thoth/stor/thoth/ba137fd783fd3ffb725fe8d70b3bb62f/core.svc.startd.27733 [
  "libc.so.1`_lwp_kill+0x15()",
  "libc.so.1`raise+0x2b()",
  "libc.so.1`abort+0x10e()",
  "utmpx_postfork+0x44()",
  "fork_common+0x186()",
  "fork_configd+0x8d()",
  "fork_configd_thread+0x2ca()",
  "libc.so.1`_thrp_setup+0x88()",
  "libc.so.1`_lwp_start()"
]
"""
STACK = [
    "libc.so.1`_lwp_kill+0x15()",
    "libc.so.1`raise+0x2b()",
    "libc.so.1`abort+0x10e()",
    "utmpx_postfork+0x44()",
    "fork_common+0x186()",
    "fork_configd+0x8d()",
    "fork_configd_thread+0x2ca()",
    "libc.so.1`_thrp_setup+0x88()",
    "libc.so.1`_lwp_start()",
]
UTMPD = {
    "name": "/bcantrill/stor/thoth/3e166b93871e7747c799008f58bd30b9",
    "dump": "/bcantrill/stor/thoth/3e166b93871e7747c799008f58bd30b9/core.19972",
    "pid": "19972",
    "cmd": "utmpd",
    "psargs": "/usr/lib/utmpd",
    "platform": "joyent_20130418T192128Z",
    "node": "headnode",
    "version": "1",
    "time": 1366869350,
    "stack": [
        "libc.so.1`__pollsys+0x15()",
        "libc.so.1`poll+0x66()",
        "wait_for_pids+0xe3()",
        "main+0x379()",
        "_start+0x83()",
    ],
    "type": "core",
    "properties": {},
}

Keep = Callable[..., None]


@pytest.fixture
def keep(stored: Thoth) -> Keep:
    """``keep("c04110bc8190a84e", cmd="node")`` stores a document and tells the index."""

    def keep(name: str, /, **values: object) -> None:
        identity = name if len(name) == 32 else name * 2
        home = f"/thoth/stor/thoth/{identity}"
        document = {"name": home, "dump": f"{home}/core.1", "type": "core", "time": 0, "properties": {}}
        info = DumpInfo({**document, "id": identity, **values})
        stored.store.put(f"{home}/info.json", info.to_json().encode())
        stored.index.put(info)

    return keep


def keep_rows(keep: Keep, table: str, ids: str = "") -> None:
    """Store what makes these rows of a list, last row first."""
    whole = {identity[:16]: identity for identity in ids.split()}
    for row in table.splitlines()[::-1]:
        name, kind, at, who, ticket = row.split()
        values = {
            "type": kind,
            "time": timegm(time.strptime(at, "%Y-%m-%dT%H:%M:%S")),
            "cmd": who,
            "node": "headnode",
        }
        keep(whole.get(name, name), **values, **({} if ticket == "-" else {"ticket": ticket}))


def at(monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    monkeypatch.setattr(time, "time", lambda: float(timegm(time.strptime(moment, "%Y-%m-%dT%H:%M:%S"))))


def test_ls_shows_the_dump_that_was_uploaded(run: Run, keep: Keep) -> None:
    keep("76998f82a450a8914037e4da838ec609", cmd="bc", time=1449234626)
    assert run("ls").out == HEADER + "76998f82a450a891 core  2015-12-04T13:10:26 bc               -\n"


def test_ls_type_crash_of_a_node(run: Run, keep: Keep) -> None:
    keep("00000000000000aa", type="crash", node="95SY9R1", time=1449234626)
    keep("00000000000000bb", type="crash", node="other", time=1449234626)
    keep("00000000000000cc", type="core", node="95SY9R1", cmd="bc", time=1449234626)
    ran = run("ls", "type=crash", "node=95SY9R1")
    assert ran.out == HEADER + "00000000000000aa crash 2015-12-04T13:10:26 95SY9R1          -\n"


def test_ls_of_the_last_six_hours(run: Run, keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_rows(keep, SIX_HOURS + HUNDRED_DAYS)
    at(monkeypatch, "2017-11-18T01:00:00")
    # Of the dumps of one second the original's come in no order, ours by identity.
    rows = SIX_HOURS.splitlines(keepends=True)
    assert run("ls", "mtime=6h").out == HEADER + "".join([rows[0], rows[2], rows[1], *rows[3:]])


def test_info_of_five_at_most(shell: Shell, keep: Keep) -> None:
    """Which five is not said there; here it is the oldest."""
    for number, name in enumerate(FIVE.split()):
        keep(name, cmd="systemd-journal", time=number)
    keep("00f00000000000aa", cmd="systemd-journal", time=5)
    keep("00000000000000bb", cmd="init")
    ran = shell("thoth info cmd=systemd* limit=5 | json -ga id")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, FIVE, "")


def test_ls_of_those_without_a_ticket(run: Run, keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_rows(keep, SIX_HOURS + HUNDRED_DAYS)
    keep("00000000000000aa", cmd="svcs", time=1507000000, ticket="OS-1")
    keep("00000000000000bb", cmd="svcs", time=1500000000)
    at(monkeypatch, "2017-11-17T12:00:00")
    assert run("ls", "mtime=100d", "cmd=svc*", "ticket=undefined").out == HEADER + HUNDRED_DAYS


def test_ls_of_dumps_from_stdin(spawn: Run, keep: Keep) -> None:
    keep_rows(keep, SIX_HOURS)
    keep_rows(keep, FROM_STDIN, DUMPS)
    ran = spawn("ls", "dump=stdin", stdin=DUMPS.encode())
    assert ran == (0, HEADER + FROM_STDIN, "thoth: reading dump identifiers from stdin\n")


def test_info_of_a_dump(run: Run, keep: Keep) -> None:
    keep("3e166b93871e7747c799008f58bd30b9", **UTMPD)
    shown = json.loads(run("info", "3e166b93871e7747c799008f58bd30b9").out)
    assert UTMPD.items() <= shown.items()


def test_info_of_a_ticket_shows_dump_and_stack(shell: Shell, keep: Keep) -> None:
    for number, dump in enumerate(re.findall("^/[^ ]+", TICKET, re.MULTILINE)):
        keep(dump.split("/")[4], dump=dump, stack=STACK, ticket="OS-2359", time=number)
    keep("00000000000000aa", stack=["main+0x1()"], ticket="OS-2360")
    ran = shell("thoth info ticket=OS-2359 | json -ga dump stack")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, TICKET, "")


def test_info_of_a_local_dump_tells_whether_it_was_uploaded(
    spawn: Run, core: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    there, never = core(1, "core.that.i.already.uploaded"), core(2, "core.that.i.have.never.seen.before")
    monkeypatch.chdir(there.parent)
    assert spawn("upload", there.name).code == 0
    assert spawn("info", there.name).code == 0
    ran = spawn("info", never.name)
    assert (ran.code, ran.out) == (2, "")


def test_ls_shows_stacks_too(run: Run, keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_rows(keep, SIX_HOURS)
    keep("3260a5e49918260ccdc1f94830c937c1", cmd="pg_prefaulter", time=1510871422, stack=STACK[:2])
    at(monkeypatch, "2017-11-18T01:00:00")
    ran = run("ls", "mtime=3d", "cmd=pg_prefaulter", "stack")
    assert ran.out == (
        HEADER[:-1] + "       STACK\n"
        "3260a5e49918260c core  2017-11-16T22:30:22 pg_prefaulter    -"
        '            ["libc.so.1`_lwp_kill+0x15()", "libc.so.1`raise+0x2b()"]\n'
        "beaa65d3548ac96f core  2017-11-17T20:23:19 pg_prefaulter    -            -\n"
    )


def test_report_of_platforms(run: Run, stored: Thoth) -> None:
    platforms = ["joyent_20130613T200352Z"] * 57 + ["joyent_20130625T221319Z"] * 47
    stored.index.put_many(
        DumpInfo({"id": f"{number:032x}", "cmd": "svc.startd", "platform": platform})
        for number, platform in enumerate(platforms)
    )
    stored.index.put(DumpInfo({"id": "f" * 32, "cmd": "svcs", "platform": "joyent_20130625T221319Z"}))
    ran = run("report", "cmd=svc.startd", "platform")
    assert ran == (0, '{\n  "joyent_20130625T221319Z": 47,\n  "joyent_20130613T200352Z": 57\n}\n', "")
