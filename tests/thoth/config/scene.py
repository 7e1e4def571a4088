"""What the tests of the configuration have in common."""

from __future__ import annotations

import pytest

from thoth.config import load_config
from thoth.errors import UsageError

SECRET = "I<3dumps"


def refused(environ: dict[str, str], **flags: str) -> str:
    with pytest.raises(UsageError) as caught:
        load_config(environ, **flags)
    return str(caught.value)
