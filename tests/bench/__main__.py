"""``make bench``: figures, as ratios within one run where something is compared. All parts, or those named."""

from __future__ import annotations

import sys

from tests.bench import identity, index, node, stream

_PARTS = {"identity": identity.measure, "index": index.measure, "node": node.measure, "stream": stream.measure}


def main(names: list[str]) -> int:
    unknown = set(names) - _PARTS.keys()
    if unknown:
        raise SystemExit(f"bench: no part is called {', '.join(sorted(unknown))}; there are {', '.join(_PARTS)}")
    for name, measure in _PARTS.items():
        if not names or name in names:
            measure()
    return 0


sys.exit(main(sys.argv[1:]))
