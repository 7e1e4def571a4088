"""Documents of dumps as a fleet has them, any number, the same in each run."""

from __future__ import annotations

import random
from collections.abc import Iterator

from thoth.model import DumpInfo, Identity, Json

RARE = "utmpx_postfork+0x44()"  # a frame of one dump in 2,500
NODE = "0042SY9R1"  # the name of one node in 800
_SPAN = 3 * 365 * 86400  # seconds from the first dump to the last
_CMDS = [*["node"] * 30, *["java"] * 15, *["postgres"] * 10, "svc.startd", "svcs", "svc.configd"]
_CMDS += [f"daemon-{number}" for number in range(60)]
_SIGNATURES = 20_000
_LAST = ["fork_common+0x186()", "libc.so.1`_thrp_setup+0x88()", "libc.so.1`_lwp_start()"]


def identity(number: int, count: int) -> Identity:
    """The name of a dump of ``count``: they are as random as digests and come sorted, as a store lists them."""
    step = (1 << 128) // count
    return Identity(f"{number * step + random.Random(number).randrange(step):032x}")


def documents(numbers: range, count: int, now: float) -> Iterator[DumpInfo]:
    """The documents of these dumps out of ``count``, each of about 1.3 KB with ten frames."""
    chance = random.Random(numbers.start)
    frames = [f"libx.so.{number % 7}`do_{number}+0x{number * 37:x}()" for number in range(2000)]
    for number in numbers:
        yield DumpInfo(_document(identity(number, count), chance, frames, now))


def _signature(chance: random.Random) -> str:
    """One of 20,000; few of them have most of the dumps: the first 7 in 100."""
    number = int(_SIGNATURES ** chance.random())
    return f"{_CMDS[number % len(_CMDS)]}: do_{number} | handle_request | process_events_and_timers"


def _document(identity: Identity, chance: random.Random, frames: list[str], now: float) -> dict[str, Json]:
    cmd, pid = chance.choice(_CMDS), chance.randrange(2, 99_999)
    node, at = f"{chance.randrange(800):04d}SY9R1", int(now - chance.random() * _SPAN)
    stack = [*chance.choices(frames, k=7), *_LAST]
    if chance.random() < 1 / 2500:
        stack[2] = RARE
    home = f"/thoth/stor/thoth/{identity}"
    document = {
        "name": home,
        "dump": f"{home}/core.{cmd}.{pid}",
        "pid": str(pid),
        "cmd": cmd,
        "psargs": f"/opt/local/bin/{cmd} --config=/opt/local/etc/{cmd}.json",
        "platform": f"joyent_{2013 + chance.randrange(8)}{chance.randrange(1, 13):02d}25T221319Z",
        "node": node,
        "version": "1",
        "time": at,
        "type": "crash" if chance.random() < 0.03 else "core",
        "properties": {},
        "id": str(identity),
        "revision": 1,
        "size": chance.randrange(1 << 20, 1 << 32),
        "md5": f"{chance.getrandbits(128):032x}",
        "sha256": f"{chance.getrandbits(256):064x}",
        "complete": True,
        "uploaded": at + 3600.25,
        "sources": [{"node": node, "path": f"/zones/{identity[:8]}/cores/core.{cmd}.{pid}"}],
        "os": "illumos",
        "arch": "amd64",
        "release": "5.11",
        "zone": f"9f3a6c1e-5b{chance.randrange(5000):04x}-4c11-9d1e-0123456789ab",
        "zoneid": chance.randrange(500),
        "exec": f"/opt/local/bin/{cmd}",
        "ppid": 1,
        "uid": 0,
        "signal": 6,
        "lwp": 1,
        "lwps": chance.randrange(1, 60),
        "stack": stack,
        "signature": _signature(chance),
        "signature_rules": 1,
    }
    return document | ({"ticket": f"OS-{chance.randrange(3000)}"} if chance.random() < 0.3 else {})
