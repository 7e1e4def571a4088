"""``thoth index``: what is done to store and index as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thoth.cli.options import add_places, configured

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from thoth.cli.console import Console


def declare_index(parser: ArgumentParser) -> None:
    parser.description = (
        "Make the index again from the store: every dump that is there is put into it.\n"
        "Safe to repeat, and while others work: a newer document in the index stays.\n"
        "An index that is damaged has to be moved away first."
    )
    parser.epilog = """\
examples:
  thoth index
  mv dumps.db dumps.db.damaged && THOTH_DB=sqlite:///$PWD/dumps.db thoth index

exit status: 0 all dumps are in the index; 1 some are not, each of which has its line on stderr
"""
    add_places(parser)
    parser.set_defaults(run=index)


def index(arguments: Namespace, console: Console) -> int:
    """Rebuild the index."""
    from thoth.library import open_thoth, require_store
    from thoth.maintain import reindex, stored_identities

    config = configured(arguments)
    require_store(config)
    with open_thoth(config) as thoth:
        thoth.index.create()
        done = reindex(thoth, console.counting("indexing", stored_identities(thoth)))
    for failure in done.failures:
        console.failure(failure)
    console.say(f"indexed {done.indexed} dump{'' if done.indexed == 1 else 's'}")
    return 1 if done.failures else 0
