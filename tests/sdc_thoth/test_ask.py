"""What answers on a node before its shell does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sdc_thoth.ask import Asker, ShellTalks
from sdc_thoth.errors import ProtocolError
from sdc_thoth.places import places
from sdc_thoth.session import Credentials, open_session
from tests.sdc_thoth.reaching import at
from tests.support.sshd import Fleet

RUN = 'exec sh -c "$SSH_ORIGINAL_COMMAND"'  # what was asked for
SHELL = "in place of a reply: the login shell of nobody has to run commands and print nothing"


@pytest.mark.parametrize(
    ("login", "kind", "said"),
    [
        ("echo This account is currently not available.; exit 1", ShellTalks, "says 'This account is currently"),
        (f"printf 'Good '; sleep 0.3; echo morning; {RUN}", ShellTalks, f"says 'Good morning' {SHELL}"),
        (f"printf '\\033[2J\\n'; {RUN}", ShellTalks, rf"says '\x1b[2J' {SHELL}"),
        ("exit 1", ShellTalks, f"says nothing and ends with status 1 {SHELL}"),
        ("echo refused: no >&2; exit 1", ProtocolError, "the reply ended in the middle (exit status 1): refused: no"),
    ],
)
def test_a_login_shell_that_talks_or_refuses(
    fleet: Callable[..., Fleet],
    trusted: Callable[..., Credentials],
    login: str,
    kind: type[ProtocolError],
    said: str,
) -> None:
    machine = fleet(1)[0]
    machine.force_command(login)
    with open_session(at(machine), trusted(machine), connect_timeout=5, idle_timeout=5) as session:
        asker = Asker(session, places(["all"]), user="nobody")
        with asker.by(session), pytest.raises(ProtocolError) as caught:
            list(asker.discover())
    assert type(caught.value) is kind
    assert said in str(caught.value)
