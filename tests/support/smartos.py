"""The programs of a SmartOS global zone that differ from Linux's, as scripts over those of this machine.

Each takes what the illumos program takes and refuses what that refuses. They call the host's own programs,
which lie in HIDDEN, a folder that is in nobody's PATH.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass

HIDDEN = "/usr/lib/bench"

# Programs that behave alike on both systems, as far as a collector can tell. `gtar` is GNU tar there.
SAME = """
    awk basename bash cat chmod chown cksum cmp cp cut dirname echo env expr false grep gzip hostname id
    kill ln ls mkdir mkfifo mktemp mv od printf pwd readlink rm rmdir sed sleep sort stat tail tee
    touch tr true uniq
"""
WRAPPED = "date dd find head md5sum sha1sum sha256sum wc xargs"


@dataclass(frozen=True, slots=True)
class Machine:
    """What a node is called."""

    name: str
    uuid: str
    address: str

    @property
    def zones(self) -> tuple[str, ...]:
        """The UUIDs of the node's zones: two, the same in every run."""
        return tuple(str(uuid.uuid5(uuid.UUID(self.uuid), f"zone {number}")) for number in range(2))


def folders(machine: Machine) -> list[str]:
    """The directories that dumps lie in. Of a zone, also the place for those that are made by hand."""
    ours = ["/zones/global/cores", "/var/crash/volatile", "/var/tmp/thoth"]
    return ours + [f"/zones/{zone}/{part}" for zone in machine.zones for part in ("cores", "root/var/tmp/thoth")]


def sysinfo(machine: Machine) -> str:
    """What /usr/bin/sysinfo prints: names and types as the platform's own script writes them."""
    interface = {
        "MAC Address": "00:0c:29:00:00:01",
        "ip4addr": machine.address,
        "Link Status": "up",
        "NIC Names": ["admin"],
    }
    document = {
        "Live Image": "20260101T000000Z",
        "System Type": "SunOS",
        "Boot Time": "1767225600",
        "Datacenter Name": "bench-1",
        "SDC Version": "7.0",
        "Manufacturer": "Bench",
        "Product": "Loopback",
        "Serial Number": "0",
        "SKU Number": "",
        "HW Version": "1",
        "HW Family": "",
        "Setup": "true",
        "VM Capable": True,
        "Bhyve Capable": False,
        "CPU Type": "Bench CPU",
        "CPU Virtualization": "none",
        "CPU Physical Cores": 1,
        "CPU Total Cores": 2,
        "Admin NIC Tag": "admin",
        "Admin IP": machine.address,
        "UUID": machine.uuid,
        "Hostname": machine.name,
        "MiB of Memory": "4096",
        "Zpool": "zones",
        "Zpool Disks": "c1t0d0",
        "Zpool Profile": "striped",
        "Zpool Encrypted": False,
        "Zpool Creation": 1700000000,
        "Zpool Size in GiB": 200,
        "Disks": {"c1t0d0": {"Size in GB": 214}},
        "Boot Parameters": {"console": "text", "headnode": "false"},
        "SDC Agents": [{"name": "cn-agent", "version": "2.17.0"}],
        "Network Interfaces": {"ixgbe0": interface},
        "Virtual Network Interfaces": {},
        "Link Aggregations": {},
    }
    return json.dumps(document, indent=2) + "\n"


def scripts(machine: Machine) -> dict[str, str]:
    """Program name -> text of the script that stands in /usr/bin for it."""
    return _SCRIPTS | {"uname": _UNAME.replace("NODENAME", machine.name)}


_UNAME = """#!/bin/bash
s=SunOS n='NODENAME' r=5.11 v=joyent_20260101T000000Z m=i86pc p=i386
[[ $# -eq 0 ]] && set -- -s
while getopts :asnrvmpi option; do
    case $option in
    a) out=("$s" "$n" "$r" "$v" "$m" "$p" "$m") ;;
    s) out+=("$s") ;; n) out+=("$n") ;; r) out+=("$r") ;; v) out+=("$v") ;;
    m | i) out+=("$m") ;; p) out+=("$p") ;;
    *) echo "uname: illegal option -- $OPTARG" >&2; exit 1 ;;
    esac
done
echo "${out[*]}"
"""

_SYSINFO = f"""#!/bin/bash
[[ $EUID -eq 0 ]] || {{ echo 'must be root' >&2; exit 1; }}
exec /usr/bin/cat {HIDDEN}/sysinfo.json
"""

_HEAD = f"""#!/bin/bash
lines=10
while [[ $1 == -?* ]]; do
    case $1 in
    --) shift; break ;;
    -n) lines=$2; shift ;;
    -[0-9]*) lines=${{1#-}} ;;
    -n[0-9]*) lines=${{1#-n}} ;;
    *)
        echo "head: illegal option -- ${{1:1:1}}" >&2
        echo 'usage: head [-n #] [-#] [filename...]' >&2
        exit 1
        ;;
    esac
    shift
done
exec {HIDDEN}/head -n "$lines" -- "$@"
"""

_XARGS = f"""#!/bin/bash
for argument; do
    case $argument in
    -[0adoPr]* | --*) echo "xargs: illegal option -- ${{argument:1:1}}" >&2; exit 2 ;;
    -[nIiLlsE]) break ;;
    -*) ;;
    *) break ;;
    esac
done
exec {HIDDEN}/xargs "$@"
"""

_DATE = f"""#!/bin/bash
arguments=()
for argument; do
    case $argument in
    -u | +*) arguments+=("${{argument//%N/N}}") ;;
    -*) echo "date: illegal option -- ${{argument:1:1}}" >&2; exit 1 ;;
    *) echo 'date: bad conversion' >&2; exit 1 ;;
    esac
done
exec {HIDDEN}/date "${{arguments[@]}}"
"""

# `skip=` reads the blocks and drops them, `iseek=` seeks: what makes the one slow and the other quick.
_DD = f"""#!/bin/bash
skip=0 block=512 operands=()
for operand; do
    case $operand in
    skip=*) skip=${{operand#*=}} ;;
    iseek=*) operands+=("skip=${{operand#*=}}") ;;
    oseek=*) operands+=("seek=${{operand#*=}}") ;;
    if=*) exec <"${{operand#*=}}" || exit 2 ;;
    bs=* | ibs=*) block=${{operand#*=}}; operands+=("$operand") ;;
    of=* | obs=* | cbs=* | seek=* | count=* | conv=* | files=*) operands+=("$operand") ;;
    *) echo "dd: bad argument: \\"$operand\\"" >&2; exit 2 ;;
    esac
done
if [[ $skip != 0 ]]; then
    {HIDDEN}/dd bs="$block" count="$skip" iflag=fullblock of=/dev/null status=none || exit 2
fi
exec {HIDDEN}/dd "${{operands[@]}}" status=noxfer
"""

_FIND = f"""#!/bin/bash
for argument; do
    case $argument in
    -printf | -fprintf | -quit | -newermt | -regextype | -executable | -readable | -ignore_readdir_race)
        echo "find: bad option $argument" >&2; exit 1 ;;
    esac
done
exec {HIDDEN}/find "$@"
"""

# The counts stand in columns, also when there is only one.
_WC = f"""#!/bin/bash
{HIDDEN}/wc "$@" | /usr/bin/sed 's/^/      /'
exit "${{PIPESTATUS[0]}}"
"""

_DIGEST = f"""#!/bin/bash
[[ $1 == -a && -n $2 ]] || {{ echo 'usage: digest -l | [-v] -a <algorithm> [<file> ...]' >&2; exit 1; }}
case $2 in md5 | sha1 | sha256) ;; *) echo "digest: unknown algorithm -- $2" >&2; exit 1 ;; esac
sum={HIDDEN}/${{2}}sum
shift 2
[[ $# -gt 0 ]] || set -- -
several=$#
for file; do
    line=$("$sum" -- "$file") || exit 2
    line=${{line#\\\\}}
    [[ $several -gt 1 ]] && printf '(%s) = ' "$file"
    echo "${{line%% *}}"
done
"""

_ZONENAME = "#!/bin/bash\necho global\n"

_SCRIPTS = {
    "sysinfo": _SYSINFO,
    "head": _HEAD,
    "xargs": _XARGS,
    "date": _DATE,
    "dd": _DD,
    "find": _FIND,
    "wc": _WC,
    "digest": _DIGEST,
    "zonename": _ZONENAME,
}
