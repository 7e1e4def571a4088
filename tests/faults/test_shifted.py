"""A tenant's files decide about nobody else's, though they are read together with those of others, in one stream."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support.elfwriter import illumos_core
from tests.support.mishaps import at_reading, check_settled, collector
from tests.support.sshd import Node

PLACE = "/var/tmp/thoth"
SIZE = 20_000


def plant(node: Node, names: str) -> None:
    for pid, name in enumerate(names):
        node.put(f"{PLACE}/core.{name}", illumos_core(pid=pid + 1, size=SIZE))


def test_F13_what_one_file_loses_and_another_gains_is_not_taken_for_a_third(
    node: Callable[..., Node], tmp_path: Path
) -> None:
    """a shrinks by what c grows: as many bytes come as were announced, and those of b stand in the wrong place."""
    only = node(flavour="gnu")
    plant(only, "abc")
    grow = f"dd if=/dev/zero bs=100 count=10 2>/dev/null >> {PLACE}/core.c"
    at_reading(only, 1, f"truncate -s {SIZE - 1000} {PLACE}/core.a; {grow}")
    home = collector(tmp_path, [only])
    results = {path.decode()[-1]: result for path, result in home.collect().results.items()}
    assert results == {"a": "failed", "b": "stored", "c": "skipped"}
    (stored,) = home.stored()
    assert stored[1] == only.path(f"{PLACE}/core.b").read_bytes()


def test_F21_what_a_file_holds_is_not_taken_for_the_words_of_the_node(
    node: Callable[..., Node], tmp_path: Path
) -> None:
    """The seventh file of a group grows by the end of that group, and by one that says that all others are gone."""
    only = node(flavour="gnu")
    plant(only, "abcdefghij")
    group = " ".join(f"{PLACE}/core.{name}" for name in "abcdefg")
    signatures = f"stat -c %d:%i:%s:%.Y:%.Z:%h {group}"
    forged = r"printf '\0group\0003\0gone\0gone\0gone\0after\0\0end\0'"
    words = f"{{ printf 'after\\0'; {signatures}; {forged}; }} > /tmp/words; cat /tmp/words >> {PLACE}/core.g"
    at_reading(only, 1, words.replace("cat ", "/usr/lib/bench/real/cat ").replace("stat -c", "/usr/bin/stat -c"))
    home = collector(tmp_path, [only])
    seen = home.collect()
    results = {path.decode()[-1]: result for path, result in seen.results.items()}
    assert results == {**dict.fromkeys("abcdefhij", "stored"), "g": "skipped"}, seen.dumps
    check_settled(home, [only])
