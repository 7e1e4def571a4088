"""``thoth get``: a dump on its way out."""

from __future__ import annotations

import errno
import stat
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from thoth.cli.options import add_places, configured, opened, word
from thoth.cli.specification import SPECIFICATION, the_only
from thoth.errors import ThothError, UsageError
from thoth.render import escaped, json_text

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from thoth.analysis.fetching import Wanted
    from thoth.cli.console import Console
    from thoth.library import Thoth
    from thoth.model import DumpInfo, Identity

_STDOUT = "-"


def declare_get(parser: ArgumentParser) -> None:
    parser.description = """\
Bring a dump out of the store, byte for byte as it was uploaded, and print the path of the file. Without -o
that lies in the current directory, under the name that the dump has in the store.
Size and SHA-256 are held against the dump's document on the way; a file gets its name when all of it is
there, right and on the disk. It is for you alone (mode 0600), and zeros in it take no room."""
    parser.epilog = f"""\
{SPECIFICATION}
examples:
  thoth get 3e166b93                      into ./core.19972, or whatever it is called
  thoth get 3e166b93 -o /var/tmp          into that directory
  thoth get 3e166b93 -o core --force      in place of the file that is there
  thoth get cmd=svc.startd mtime=1d       the only one that matches
  thoth get 3e166b93 -o - | zstd > core.zst
  gdb ./server "$(thoth -q get 7d2f)"

With -o - what is wrong with a dump is known when all of it was written: then the exit status is 1.
--json: {{"id", "path", "size", "sha256"}}; sha256 is null where the document has none.

exit status: 0 done; 1 failed, or several dumps match; 2 no such dump
"""
    parser.add_argument(
        "words", nargs="+", type=word, metavar="DUMP|SPEC", help="identity, its beginning, local dump, or constraint"
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE|DIRECTORY|-", help="where to put it; - is standard output, if no terminal"
    )
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    parser.add_argument("--json", action="store_true", help="a JSON object instead of the path")
    add_places(parser)
    parser.set_defaults(run=get)


def get(arguments: Namespace, console: Console) -> int:
    """Bring a dump out of the store."""
    from thoth.analysis.fetching import as_uploaded

    _check(arguments, console)
    with opened(configured(arguments), console) as thoth:
        info = the_only(thoth, arguments.words, console)
        target = as_uploaded(thoth, info)
        if arguments.output == _STDOUT:
            _tell(info.id, target, console)
            _write_out(thoth, target, console)
        else:
            path = _place(arguments.output, target.filename)
            _refuse_taken(path, replace=arguments.force)
            _tell(info.id, target, console)
            _save(thoth, target, path, console, replace=arguments.force)
            console.result(_line(info.id, target, path) if arguments.json else escaped(str(path)))
        _tell_doubts(info, target, console)
    return 0


def _check(arguments: Namespace, console: Console) -> None:
    """Raises UsageError for what cannot be asked of it."""
    if arguments.output == "":
        raise UsageError("get: -o: '' names no file")
    if arguments.output != _STDOUT:
        return
    for option, given in {"--json": arguments.json, "--force": arguments.force}.items():
        if given:
            raise UsageError(f"get: {option} is for a file, and -o - writes none; leave one of them out")
    if console.on_terminal:
        raise UsageError(
            "get: standard output is a terminal, which a dump would garble; pipe it, as in"
            " 'thoth get DUMP -o - | zstd > core.zst', or name a file with -o"
        )


def _tell(identity: Identity, target: Wanted, console: Console) -> None:
    console.say(f"getting {escaped(target.filename)} of {identity}")


def _tell_doubts(info: DumpInfo, target: Wanted, console: Console) -> None:
    if target.sha256 is None and info.size is None:
        console.say(f"{info.id}: its document has neither size nor SHA-256: nothing was recorded to compare it with")
    elif target.sha256 is None:
        console.say(f"{info.id}: its document has no SHA-256; only the size was compared")
    if info.complete is False:
        console.say(f"{info.id}: is cut short; the whole dump has not come")


def _line(identity: Identity, target: Wanted, path: Path) -> str:
    return json_text({"id": str(identity), "path": str(path), "size": target.size, "sha256": target.sha256})


def _write_out(thoth: Thoth, target: Wanted, console: Console) -> None:
    from thoth.analysis.fetching import checked

    with (
        console.filling(target.filename.encode(), target.size) as progress,
        closing(checked(thoth, target, progress)) as blocks,
    ):
        for block in blocks:
            console.raw(block)
    console.flush()


# ---- a file -----------------------------------------------------------------------------------------


def _place(output: str | None, filename: str) -> Path:
    """Where it is to lie."""
    if output is None:
        return Path(filename)
    path = Path(output)
    return path / filename if output.endswith("/") or path.is_dir() else path


def _refuse_taken(path: Path, *, replace: bool) -> None:
    """Raises UsageError for what is known not to work before anything is fetched: dumps are large."""
    name = escaped(str(path))
    if not path.parent.is_dir():
        raise UsageError(f"{name}: {escaped(str(path.parent))} is no directory; make it first")
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}") from error
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        raise UsageError(f"{name}: is there, and not a regular file; name another one with -o")
    if not replace:
        raise _taken(name)


def _taken(name: str) -> UsageError:
    return UsageError(f"{name}: is there already; --force replaces it, and -o names another file")


def _save(thoth: Thoth, target: Wanted, path: Path, console: Console, *, replace: bool) -> None:
    from thoth.analysis.fetching import save

    name = escaped(str(path))
    try:
        with console.filling(target.filename.encode(), target.size) as progress:
            save(thoth, target, path, progress, replace=replace)
    except FileExistsError as error:  # since we looked
        raise _taken(name) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            what = f"no room for the {target.size} bytes of it"
            raise ThothError(f"{name}: {what}; make some, or name another place with -o") from error
        raise ThothError(f"{name}: {error.strerror or error}") from error
