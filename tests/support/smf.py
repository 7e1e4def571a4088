"""svccfg, svcadm and svcs of a headnode's root: a repository in a file, and a startd that really runs methods.

    python smf.py ROOT svccfg|svcadm|svcs ARGUMENT..

Source: svccfg(8), svcadm(8), svcs(1), smf_method(7).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from shlex import quote
from typing import Any
from xml.etree import ElementTree


class Repository:
    """Services by ``site/NAME``: manifest, state."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._file = root / "var/smf.json"
        self.services: dict[str, dict[str, Any]] = json.loads(self._file.read_text()) if self._file.exists() else {}

    def save(self) -> None:
        self._file.write_text(json.dumps(self.services, indent=1, sort_keys=True))

    def take(self, manifest: Path) -> None:
        service = ElementTree.parse(manifest).find("service")
        assert service is not None
        default = service.find("create_default_instance")
        assert default is not None
        name = service.attrib["name"]
        before = self.services.get(name, {"state": "disabled"})
        self.services[name] = {**before, "manifest": str(manifest)}
        if default.get("enabled") == "true" and before["state"] != "online":
            self.start(name)

    def start(self, name: str) -> None:
        service = ElementTree.parse(self.services[name]["manifest"]).find("service")
        assert service is not None
        for dependency in service.iter("service_fmri"):
            ours = dependency.attrib["value"].removeprefix("svc:/")
            if ours.startswith("site/") and self.services.get(ours, {}).get("state") != "online":
                self.services[name]["state"] = "offline"
                return
        status = self._run(service, name)
        self.services[name]["state"] = "online" if status == 0 else "maintenance"
        self.services[name]["status"] = status

    def _run(self, service: ElementTree.Element, name: str) -> int:
        methods = {method.attrib["name"]: method.attrib["exec"] for method in service.iter("exec_method")}
        program, *words = methods["start"].replace("%m", "start").split()
        line = " ".join(map(quote, [f"{self._root}{program}", *words]))
        environment = {"PATH": "/usr/sbin:/usr/bin"}
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


def main(root: str, program: str, *arguments: str) -> int:
    repository = Repository(Path(root))
    names = [word.removeprefix("svc:/").removesuffix(":default") for word in arguments if word.startswith("svc:/")]
    known = [name for name in names if name in repository.services]
    match program, *arguments:
        case "svccfg", "import", manifest:
            repository.take(Path(manifest))
        case _ if len(known) != 1:
            print(f"{program}: Pattern '{' '.join(names)}' doesn't match any instances", file=sys.stderr)
            return 1
        case "svccfg", "delete", "-f", _:
            del repository.services[known[0]]
        case "svcadm", "disable", "-s", _:
            repository.services[known[0]]["state"] = "disabled"
        case "svcadm", ("enable" | "restart" | "clear"), _:
            repository.start(known[0])
        case "svcs", "-H", "-o", "state", _:
            print(repository.services[known[0]]["state"])
        case "svcs", *_:
            print(repository.services[known[0]]["state"], "-", names[0])
        case _:
            print(f"{program}: usage", file=sys.stderr)
            return 2
    repository.save()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
