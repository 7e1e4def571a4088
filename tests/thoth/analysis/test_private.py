"""A cache that is ours alone, or no cache."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.analysis import NOBODY, as_user, common_ground, mode
from thoth.analysis.cache import Cache
from thoth.errors import CacheError


def test_what_is_missing_is_made_whatever_the_umask(tmp_path: Path) -> None:
    os.umask(0o077)
    with Cache(tmp_path / "a" / "b" / "cache").work():
        assert [mode(tmp_path / name) for name in ("a", "a/b", "a/b/cache")] == [0o755, 0o755, 0o710]


def _link(root: Path) -> None:
    root.symlink_to(root.parent)


def _file(root: Path) -> None:
    root.touch()


def _open(root: Path) -> None:
    root.mkdir(0o755)


def _others(root: Path) -> None:
    root.mkdir(0o700)
    os.chown(root, 1000, 0)


def _open_above(root: Path) -> None:
    root.mkdir(0o700)
    root.parent.chmod(0o777)


def _others_above(root: Path) -> None:
    root.mkdir(0o700)
    os.chown(root.parent, 1000, 0)


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (_link, "is a link; remove it"),
        (_file, "File exists"),
        (_open, "has mode 0755 and must have 0700; chmod 700 it"),
        (_others, r"belongs to another user \(uid 1000\)"),
        (_open_above, "others may write to /.*; chmod go-w it"),
        (_others_above, r"/.* belongs to another user \(uid 1000\)"),
    ],
)
def test_a_cache_that_is_not_ours_alone_is_refused(root: Path, prepare: Callable[[Path], None], said: str) -> None:
    prepare(root)
    with pytest.raises(CacheError) as refused, Cache(root).work():
        pass
    text = str(refused.value)
    assert re.search(said, text)
    assert text.startswith(f"cache {root}: ")
    assert text.endswith("name a directory of your own with THOTH_CACHE")
    assert "\n" not in text


def test_a_place_that_a_user_cannot_go_to(root: Path) -> None:
    said = f"^cache {re.escape(str(root))}: Permission denied; name a directory of your own with THOTH_CACHE$"
    with as_user(), pytest.raises(CacheError, match=said), Cache(root).work():
        pass


def test_another_user_s_link_does_not_choose_the_place() -> None:
    with common_ground() as ground:
        ground.chmod(0o1777)
        link, chosen = ground / "thoth", ground / "chosen"
        link.symlink_to(chosen)
        os.lchown(link, NOBODY, NOBODY)
        with pytest.raises(CacheError, match=rf"{link} is a link of another user's \(uid {NOBODY}\); "):
            Cache(link / "cache").work().__enter__()
        assert not chosen.exists()


def test_a_link_that_is_laid_meanwhile_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with common_ground() as ground:
        ground.chmod(0o1777)
        link, closed = ground / "thoth", ground / "closed"
        closed.mkdir(mode=0o700)
        mkdir = Path.mkdir

        def after_another(path: Path, *args: int, **kwargs: bool) -> None:
            if path == link and not path.is_symlink():
                path.symlink_to(closed)
            mkdir(path, *args, **kwargs)

        monkeypatch.setattr(Path, "mkdir", after_another)
        with pytest.raises(CacheError, match=f"others may write to {link}"):
            Cache(link / "cache").work().__enter__()
        assert mode(closed) == 0o700
