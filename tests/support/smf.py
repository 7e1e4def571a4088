"""svccfg, svcadm and svcs of a headnode's root: a repository in a file, and a startd that really runs methods.

    python smf.py ROOT svccfg|svcadm|svcs ARGUMENT..

A contract is all that a start method leaves behind, found by a variable that its processes have inherited.

Source: svccfg(8), svcadm(8), svcs(1), smf_method(7).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xml.etree import ElementTree  # it and subprocess take longer to import than to tell a state takes

_CONTRACT = "CONTRACT"


def contract(root: Path, name: str = "") -> Iterator[int]:
    """The processes of a service of that root, or of all its services."""
    wanted = f"\0{_CONTRACT}={root}:{name}".encode()
    for entry in Path("/proc").iterdir():
        try:
            found = entry.name.isdigit() and wanted in b"\0" + (entry / "environ").read_bytes()
        except OSError:  # it has ended meanwhile
            continue
        if found:
            yield int(entry.name)


class Repository:
    """Services by ``site/NAME``: manifest, methods, state."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._file = root / "var/smf.json"
        self.services: dict[str, dict[str, Any]] = json.loads(self._file.read_text()) if self._file.exists() else {}

    def save(self) -> None:
        self._file.write_text(json.dumps(self.services, indent=1, sort_keys=True))

    def take(self, manifest: Path) -> None:
        service = _service(manifest)
        default = service.find("create_default_instance")
        assert default is not None
        name = service.attrib["name"]
        before = self.services.get(name, {"state": "disabled"})
        methods = {method.attrib["name"]: dict(method.attrib) for method in service.iter("exec_method")}
        self.services[name] = {**before, "manifest": str(manifest), "methods": methods}
        if default.get("enabled") == "true" and before["state"] != "online":
            self.start(name)

    def start(self, name: str) -> None:
        service = _service(self.services[name]["manifest"])
        for dependency in service.iter("service_fmri"):
            ours = dependency.attrib["value"].removeprefix("svc:/")
            if ours.startswith("site/") and self.services.get(ours, {}).get("state") != "online":
                self.services[name]["state"] = "offline"
                return
        status = self._run(service, name)
        self.services[name]["state"] = "online" if status == 0 else "maintenance"
        self.services[name]["status"] = status
        for waiting in [
            other for other, about in self.services.items() if about["state"] == "offline" and status == 0
        ]:
            self.start(waiting)

    def stop(self, name: str) -> None:
        """SIGTERM for its contract, and SIGKILL when that takes too long; a method that does nothing has none."""
        method = self._method(name, "stop")
        deadline = time.monotonic() + float(method["timeout_seconds"])
        self._send(name, method["exec"])
        while any(contract(self._root, f"{name}\0")):
            if time.monotonic() > deadline:
                self._send(name, ":kill -KILL")
            time.sleep(0.02)
        self.services[name]["state"] = "disabled"

    def refresh(self, name: str) -> None:
        self._send(name, self._method(name, "refresh")["exec"])

    def _send(self, name: str, method: str) -> None:
        program, *words = method.split()
        if program == ":true":
            return
        assert program == ":kill", method
        number = signal.Signals[f"SIG{words[0].removeprefix('-')}" if words else "SIGTERM"]
        for pid in contract(self._root, f"{name}\0"):
            with suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(pid, number)

    def _method(self, name: str, wanted: str) -> dict[str, str]:
        found: dict[str, str] = self.services[name]["methods"].get(wanted, {"exec": ":true"})
        return found

    def _run(self, service: ElementTree.Element, name: str) -> int:
        import subprocess

        program, *words = self._method(name, "start")["exec"].replace("%m", "start").split()
        line = " ".join(map(quote, [f"{self._root}{program}", *words]))
        environment = {
            "PATH": "/usr/sbin:/usr/bin",
            "SMF_FMRI": f"svc:/{name}:default",
            "SMF_METHOD": "start",
            "SMF_RESTARTER": "svc:/system/svc/restarter:default",
            "SMF_ZONENAME": "global",
            _CONTRACT: f"{self._root}:{name}",
        }
        for variable in service.iter("envvar"):
            environment[variable.attrib["name"]] = self._rooted(variable.attrib["value"])
        credential = service.find("method_context/method_credential")
        command = ["/bin/bash", "-c", line]
        if credential is not None:
            command = [str(self._root / "usr/bin/su"), credential.attrib["user"], "-c", line]
        context = service.find("method_context")
        cwd = self._rooted(context.attrib["working_directory"]) if context is not None else "/"
        with (self._root / f"var/svc/log/{name.replace('/', '-')}:default.log").open("a") as log:
            done = subprocess.run(command, env=environment, cwd=cwd, stdout=log, stderr=log, check=False)
        return done.returncode

    def _rooted(self, value: str) -> str:
        return value.replace("/opt/custom", f"{self._root}/opt/custom")


def _service(manifest: str | Path) -> ElementTree.Element:
    from xml.etree import ElementTree

    service = ElementTree.parse(manifest).find("service")
    assert service is not None
    return service


def named(repository: Repository, words: Sequence[str]) -> list[str]:
    """The services that these words name, as an FMRI or as people abbreviate it."""
    plain = [word.removeprefix("svc:/").removesuffix(":default") for word in words]
    return [name for word in plain for name in repository.services if name == word or name.endswith(f"/{word}")]


def main(root: str, program: str, *arguments: str) -> int:
    repository = Repository(Path(root))
    known = named(repository, arguments)
    match program, *arguments:
        case "svccfg", "import", manifest:
            repository.take(Path(manifest))
        case _ if len(known) != 1:
            print(f"{program}: Pattern '{arguments[-1]}' doesn't match any instances", file=sys.stderr)
            return 1
        case "svccfg", "delete", "-f", _:
            del repository.services[known[0]]
        case "svcadm", word, *_:
            return administer(repository, known[0], word)
        case "svcs", "-H", "-o", "state", _:
            print(repository.services[known[0]]["state"])
        case "svcs", *_:
            print(repository.services[known[0]]["state"], "-", f"svc:/{known[0]}:default")
        case _:
            print(f"{program}: usage", file=sys.stderr)
            return 2
    repository.save()
    return 0


def administer(repository: Repository, name: str, word: str) -> int:
    online = repository.services[name]["state"] == "online"
    if word in ("disable", "restart"):
        repository.stop(name)
    if word == "restart" or (word in ("enable", "clear") and not online):
        repository.start(name)
    elif word == "refresh" and online:
        repository.refresh(name)
    elif word not in ("disable", "enable", "clear", "refresh"):
        print(f"svcadm: {word}: usage", file=sys.stderr)
        return 2
    repository.save()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
