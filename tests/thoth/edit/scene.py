"""What the tests of edits have in common: documents, and values for them."""

from __future__ import annotations

from hypothesis import strategies as st

from thoth.model import DumpInfo, Identity, Json

NOBODY = Identity("0" * 32)

keys = st.text(min_size=1, max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3))
paths = st.lists(keys, min_size=1, max_size=4).map(tuple)


def info_of(**values: Json) -> DumpInfo:
    return DumpInfo({"id": str(NOBODY), **values})


def nested(depth: int) -> Json:
    value: Json = 1
    for _ in range(depth):
        value = [value]
    return value
