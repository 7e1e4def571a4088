"""``python -m thoth``: the ``thoth`` command."""

from thoth.cli import main

raise SystemExit(main())
