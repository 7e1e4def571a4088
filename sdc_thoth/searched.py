"""What a node's listing says of its places: which were searched, and which hold more than is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sdc_thoth.errors import ProtocolError
from sdc_thoth.listing import Bad, Found, Odd, Placeless, System, length_of
from thoth import escaped

_SHARE: Final = 128 << 10  # bytes of a listing that each directory may have: some 1,300 files
_SHARES: Final = 16 << 20  # of these bytes, on one node
_MORE: Final = 32 << 20  # bytes beyond: a directory may have half of what those before it have left
_PASSED_OVER: Final = 64 << 20  # bytes of one directory that are not looked at; node.sh lists no more
_TROUBLES: Final = 100  # places that could not be searched, of which more need not be known
_TOLD: Final = 5
_LINK: Final = "the path leads through a link"
_CROWDED: Final = "holds too many dumps"


class Searched:
    """One node's."""

    def __init__(self) -> None:
        self.system = ""
        self.troubles: list[Bad] = []  # what the node, or its operator, has to set right
        self._remarks: list[str] = []
        self._crowded: set[bytes] = set()
        self._shares, self._more = _SHARES, _MORE
        self._directory: bytes | None = None
        self._share = self._half = self._passed_over = 0

    def fits(self, item: Found | Odd) -> bool:
        """Whether a file is looked at: any tenant can fill a directory, which must cost that directory alone.

        Raises ProtocolError for a listing that no node has: a hostile one has no end.
        """
        if item.directory != self._directory:
            self._directory, self._share, self._half, self._passed_over = item.directory, _SHARE, self._more // 2, 0
        size = length_of(item)
        if size <= self._share:
            self._share -= size
            self._charge(size)
        elif size <= self._half:
            self._half -= size
            self._more -= size
        else:
            self._share = self._half = 0  # its shorter names come no further
            self._passed_over += size
            if self._passed_over > _PASSED_OVER:
                raise _endless()
            return False
        return True

    def take(self, item: System | Placeless | Bad) -> Iterator[Bad]:
        """Note what is said of the node or of a place; gives what concerns a directory and not the node.

        Raises ProtocolError as ``fits`` does.
        """
        self._charge(length_of(item))
        if isinstance(item, System):
            self.system = item.name
        elif isinstance(item, Placeless):
            self._remark(item.remark)
        elif item.reason.startswith(_CROWDED):
            yield from self.crowded(item.directory)
        elif item.reason == _LINK:  # any tenant can make one
            self._remark(f"{escaped(item.directory)}: {_LINK}")
        # Several places can lead through one directory, and a node may complain without end.
        elif item not in self.troubles and len(self.troubles) < _TROUBLES:
            self.troubles.append(item)

    def crowded(self, directory: bytes) -> Iterator[Bad]:
        """Note that a directory holds more than is looked at; gives that unless it is known."""
        if directory not in self._crowded:
            self._crowded.add(directory)
            yield Bad(directory, f"{_CROWDED}: only those that the node lists first are looked at; remove some")

    def is_whole(self, path: bytes) -> bool:
        """Whether all that lies beside it was looked at."""
        return path.rpartition(b"/")[0] not in self._crowded

    @property
    def remarks(self) -> list[str]:
        """For people: what keeps dumps from being taken on a node with which nothing is wrong."""
        more = len(self._remarks) - _TOLD
        return self._remarks[:_TOLD] + ([f"and {more} more"] if more > 0 else [])

    @property
    def reason(self) -> str:
        """For people: what is wrong, in one line."""
        return "; ".join(f"{escaped(bad.directory)}: {escaped(bad.reason)}" for bad in self.troubles[:_TOLD])

    @property
    def is_denied(self) -> bool:
        """Whether nothing is wrong but what we may do there."""
        return all(bad.reason == "permission denied" for bad in self.troubles)

    def _remark(self, remark: str) -> None:
        if remark not in self._remarks and len(self._remarks) < _TROUBLES:
            self._remarks.append(remark)

    def _charge(self, size: int) -> None:
        self._shares -= size
        if self._shares < 0:
            raise _endless()


def _endless() -> ProtocolError:
    return ProtocolError("lists more files than one node can have; remove some, or search fewer places")
