"""What cron runs: ``run-thoth``, with the options that whoever edits it may give."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sdc_thoth.options import pass_parser
from tests.support.collector import Collector
from tests.support.mishaps import collector
from tests.support.sshd import Fleet

TOP = Path(__file__).resolve().parent.parent.parent
STANDARD = "options=(--dry-run)"
DRY = ["-n", "-vn", "-xvnN cn0", "-v -n", "--dry"]
REAL = ["-v", "-xN cn0", "-Ncn1", "-vln"]


@pytest.fixture(scope="module")
def script() -> str:
    text = (TOP / "cron/run-thoth").read_text()
    assert text.count(STANDARD) == 1
    return text


def run(home: Collector, script: str, options: str) -> subprocess.CompletedProcess[str]:
    """As cron does it, in the home directory of its user; ``options`` as one would write them there."""
    path = home.home / "run-thoth"
    path.write_text(script.replace(STANDARD, f"options=({options} --inventory {home.inventory})"))
    (home.home / ".bashrc").write_text(
        f"export THOTH_UUID=here PATH={Path(sys.executable).parent}:/usr/bin:/bin HOME={home.home}\n"
    )
    bash = shutil.which("bash")
    assert bash
    return subprocess.run([bash, path], capture_output=True, text=True, timeout=60, check=False)


def test_the_log_of_a_dry_run_stays_here_however_it_is_asked_for(
    fleet: Callable[..., Fleet], tmp_path: Path, script: str
) -> None:
    home = collector(tmp_path / "home", fleet(2))
    kept: dict[str, str] = {}
    for options in (*REAL, *DRY):
        # The collector's own word on what these options are.
        assert pass_parser().parse_args(options.split()).dry_run is (options in DRY)
        done = run(home, script, options)
        (log,) = {path.name for path in (home.home / "log").iterdir()} - kept.keys()
        kept[log] = options
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), (home.home / "log" / log).read_text()
    stored = [line.rpartition("/")[2] for line in home.thoth("logs", "--all").stdout.splitlines()[1:]]
    assert [kept[log] for log in stored] == REAL
