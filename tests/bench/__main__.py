"""``make bench``: figures, as ratios within one run where something is compared. All parts, or those named."""

from __future__ import annotations

import subprocess
import sys

from tests.bench import fleet, identity, index, link, manta, node, rethink, stacks, stream, together

_PARTS = {
    "fleet": fleet.measure,
    "identity": identity.measure,
    "index": index.measure,
    "link": link.measure,
    "node": node.measure,
    "rethink": rethink.measure,
    "stacks": stacks.measure,
    "stream": stream.measure,
    "together": together.measure,
    "manta": manta.measure,
}


def main(names: list[str]) -> int:
    unknown = set(names) - _PARTS.keys()
    if unknown:
        raise SystemExit(f"bench: no part is called {', '.join(sorted(unknown))}; there are {', '.join(_PARTS)}")
    asked = [name for name in _PARTS if not names or name in names]
    if len(asked) == 1:
        _PARTS[asked[0]]()
        return 0
    # Each in a process of its own: the RSS of a new process begins with that of the one that starts it.
    return max(subprocess.run([sys.executable, "-m", "tests.bench", name], check=False).returncode for name in asked)


sys.exit(main(sys.argv[1:]))
