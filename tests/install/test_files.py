"""What is shipped: manifests, crontab, units, scripts (F70, F72)."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from tests.support.headnode import Headnode

TOP = Path(__file__).resolve().parent.parent.parent
MANIFESTS = ("thoth", "sdc-thoth")
SCRIPTS = [
    path
    for folder in ("install", "smf", "cron")
    for path in sorted((TOP / folder).iterdir())
    if path.read_bytes().startswith(b"#!/bin/") or path.suffix == ".sh"
]

# The order of a service's parts, and what each element may have: service_bundle(5), smf_method(7), smf(7).
ORDER = [
    "create_default_instance",
    "single_instance",
    "restarter",
    "dependency",
    "dependent",
    "method_context",
    "exec_method",
    "notification_parameters",
    "property_group",
    "instance",
    "stability",
    "template",
]
ATTRIBUTES: dict[str, tuple[str, str]] = {  # those that must be there, those that may
    "service_bundle": ("type name", ""),
    "service": ("name type version", ""),
    "create_default_instance": ("enabled", ""),
    "single_instance": ("", ""),
    "dependency": ("name grouping restart_on type", "delete"),
    "service_fmri": ("value", ""),
    "exec_method": ("type name exec timeout_seconds", "delete"),
    "method_context": ("", "working_directory project resource_pool"),
    "method_credential": ("user", "group supp_groups privileges limit_privileges"),
    "method_environment": ("", ""),
    "envvar": ("name value", ""),
    "property_group": ("name type", "delete"),
    "propval": ("name type value", "override"),
    "stability": ("value", ""),
    "template": ("", ""),
    "common_name": ("", ""),
    "loctext": ("{http://www.w3.org/XML/1998/namespace}lang", ""),
}
VALUES = {
    ("dependency", "grouping"): "require_all require_any exclude_all optional_all",
    ("dependency", "restart_on"): "none error restart refresh",
    ("create_default_instance", "enabled"): "true false",
    ("stability", "value"): "Standard Stable Evolving Unstable External Obsolete",
    ("propval", "type"): "count integer opaque host hostname net_address time astring ustring boolean fmri uri",
}


def service(name: str) -> Element:
    found = ElementTree.parse(TOP / "smf" / f"{name}.xml").find("service")
    assert found is not None
    return found


def methods(name: str) -> dict[str, Element]:
    return {method.attrib["name"]: method for method in service(name).iter("exec_method")}


@pytest.mark.parametrize("name", MANIFESTS)
class TestManifests:
    def test_F72_form(self, name: str) -> None:
        text = (TOP / "smf" / f"{name}.xml").read_text()
        assert "<!DOCTYPE service_bundle SYSTEM '/usr/share/lib/xml/dtd/service_bundle.dtd.1'>" in text
        bundle = ElementTree.fromstring(text)
        assert bundle.attrib == {"type": "manifest", "name": f"site:{name}"}
        assert service(name).attrib == {"name": f"site/{name}", "type": "service", "version": "1"}
        parts = [ORDER.index(part.tag) for part in service(name)]
        assert parts == sorted(parts)
        for element in bundle.iter():
            needed, possible = (set(words.split()) for words in ATTRIBUTES[element.tag])
            assert needed <= element.attrib.keys() <= needed | possible, element.tag
            for attribute, value in element.attrib.items():
                allowed = VALUES.get((element.tag, attribute))
                assert allowed is None or value in allowed.split(), value

    def test_F72_each_group_and_dependency_has_its_own_name(self, name: str) -> None:
        """They share one name space: a dependency becomes a property group."""
        names = [
            part.attrib["name"]
            for part in service(name)
            if part.tag in ("dependency", "property_group", "exec_method")
        ]
        assert len(names) == len({*names})

    def test_F72_what_it_runs_is_there(self, name: str, installed: Headnode) -> None:
        for method in methods(name).values():
            program = method.attrib["exec"].split()[0]
            assert program in (":kill", ":true") or os.access(installed.path(program), os.X_OK)

    def test_F72_dependencies_have_an_order(self, name: str) -> None:
        """No service waits for one that waits for it."""
        needs = {fmri.attrib["value"] for fmri in service(name).iter("service_fmri")}
        assert "svc:/system/filesystem/local" in needs
        assert ("svc:/site/thoth" in needs) is (name == "sdc-thoth")
        assert "svc:/site/sdc-thoth" not in needs


def test_F72_the_boot_service_is_transient_and_enabled() -> None:
    (duration,) = service("thoth").iter("propval")
    assert (duration.attrib["name"], duration.attrib["value"]) == ("duration", "transient")
    default = service("thoth").find("create_default_instance")
    assert default is not None and default.attrib["enabled"] == "true"
    assert methods("thoth")["stop"].attrib["exec"] == ":true"


def test_F72_the_daemon_is_not_roots_and_waits_for_its_operator() -> None:
    credential = service("sdc-thoth").find("method_context/method_credential")
    assert credential is not None
    assert credential.attrib["user"] == "thoth" and credential.attrib["limit_privileges"] == "basic"
    default = service("sdc-thoth").find("create_default_instance")
    assert default is not None and default.attrib["enabled"] == "false"
    properties = {value.attrib["name"]: value.attrib["value"] for value in service("sdc-thoth").iter("propval")}
    assert properties["duration"] == "contract"
    told = {name: method.attrib["exec"] for name, method in methods("sdc-thoth").items()}
    assert (told["stop"], told["refresh"]) == (":kill", ":kill -HUP")


def test_F72_crontab(installed: Headnode) -> None:
    lines = [line for line in (TOP / "cron/crontab").read_text().splitlines() if not line.startswith("#")]
    (line,) = lines
    fields = re.fullmatch(r"([0-9]{1,2}) \* \* \* \* (/[A-Za-z0-9/_-]+)", line)
    assert fields and fields[1] == "44"
    program = installed.path(fields[2])
    assert os.access(program, os.X_OK) and program.stat().st_uid == 100


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_F72_scripts_parse(script: Path) -> None:
    shell = "sh" if script.read_bytes().startswith(b"#!/bin/sh") else "bash"
    for program in {shell, "bash"}:
        done = subprocess.run([program, "-n", script], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    assert os.access(script, os.X_OK) is (script.suffix != ".sh")  # what is only read is no command


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_F72_nothing_that_bash_3_does_not_know(script: Path) -> None:
    text = script.read_text()
    newer = {
        "associative array": r"(declare|local|typeset) -[a-zA-Z]*A",
        "name reference": r"(declare|local|typeset) -[a-zA-Z]*n\b",
        "mapfile": r"\b(mapfile|readarray)\b",
        "case modification": r"\$\{[A-Za-z_]+(\[[^]]*\])?(\^|,)",
        "transformation": r"\$\{[^}]*@[QEPAaKkUuL]\}",
        "|&": r"\|&",
        "&>>": r"&>>",
        "EPOCHSECONDS": r"EPOCH(SECONDS|REALTIME)",
        "coproc": r"\bcoproc\b",
        "printf of time": r"printf [^\n]*%\(",
        "negative substring": r"\$\{[A-Za-z_]+: *-[0-9]",
        "shopt of bash 4": r"shopt .*(globstar|lastpipe|inherit_errexit)",
        "wait -n": r"\bwait -n\b",
        ";& in case": r";;?&",
        "test -v": r"\[\[? -v ",
    }
    found = [what for what, pattern in newer.items() if re.search(pattern, text)]
    assert not found, found


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_F70_no_certificate_goes_unchecked(script: Path) -> None:
    assert not re.search(r"curl\b[^\n]*\s(-[a-zA-Z]*k|--insecure)\b", script.read_text())
    assert not re.search(r"verify *= *False|CERT_NONE|TLS_INSECURE", script.read_text())


def test_F70_no_python_of_ours_turns_certificates_off() -> None:
    for path in (TOP / "install").glob("*.py"):
        assert not re.search(r"verify *= *False|CERT_NONE|_unverified|TLS_INSECURE", path.read_text()), path


# ---- Linux ----------------------------------------------------------------------------------------

UNITS = sorted((TOP / "systemd").glob("sdc-thoth*"))


def settings(unit: Path) -> Iterator[tuple[str, str]]:
    for line in unit.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            yield name, value


@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit.suffix == ".service"], ids=lambda path: path.name)
def test_F72_units_are_hardened(unit: Path) -> None:
    told = dict(settings(unit))
    assert told["User"] == "thoth" and told["CapabilityBoundingSet"] == "" and told["ProtectSystem"] == "strict"
    assert told["LimitCORE"] == "0" and told["UMask"] == "0077" and told["NoNewPrivileges"] == "yes"
    assert told["Type"] == ("notify" if unit.name == "sdc-thoth.service" else "oneshot")
    assert ("--daemon" in told["ExecStart"]) is (told["Type"] == "notify")


def test_both_services_have_the_same_limits() -> None:
    daemon, single = (dict(settings(TOP / "systemd" / f"sdc-thoth{kind}.service")) for kind in ("", "-pass"))
    differing = {name for name in daemon.keys() | single.keys() if daemon.get(name) != single.get(name)}
    assert differing == {
        "Description", "Type", "ExecStart", "ExecReload", "Restart", "RestartSec", "RestartPreventExitStatus",
        "SuccessExitStatus", "TimeoutStartSec", "WantedBy",
    }  # fmt: skip


def test_F72_systemd_takes_the_units(tmp_path: Path) -> None:
    program = tmp_path / "sdc-thoth"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for unit in UNITS:
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/thoth/bin/sdc-thoth", str(program)))
    names = [tmp_path / unit.name for unit in UNITS]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *names], capture_output=True, text=True, check=False
    )
    about_ours = [line for line in done.stderr.splitlines() if "sdc-thoth" in line]
    assert (done.returncode, about_ours) == (0, []), done.stderr


def test_F72_systemd_finds_little_exposed() -> None:
    unit = TOP / "systemd/sdc-thoth.service"
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-300:] + done.stderr


def test_sysusers() -> None:
    (line,) = [line for line in (TOP / "systemd/thoth.conf").read_text().splitlines() if not line.startswith("#")]
    assert line.split()[:3] == ["u", "thoth", "-"] and line.endswith(" /var/lib/thoth")


# ---- the methods ------------------------------------------------------------------------------------


def test_what_a_boot_cannot_put_back_is_for_people(installed: Headnode) -> None:
    """96: startd does not try again; the message says what to do."""
    for line in ("thoth:x:1001:1::/home:/bin/sh", "someone:x:100:1::/home:/bin/sh"):
        installed.wipe()
        with (installed.root / "etc/passwd").open("a") as passwd:
            passwd.write(f"{line}\n")
        done = installed.run(installed.top / "bin/postboot", "start")
        assert done.returncode == 96 and "svcadm clear site/thoth" in done.stderr
    installed.wipe()
    installed.broken("useradd")
    assert installed.run(installed.top / "bin/postboot", "start").returncode == 95


def test_without_a_crontab_of_its_own_cron_runs_nothing(installed: Headnode) -> None:
    installed.wipe()
    (installed.home / "crontab").unlink()
    installed.broken("ipadm")  # slow transfers are no reason to run none
    done = installed.run(installed.top / "bin/postboot", "start")
    assert done.returncode == 0 and "nothing runs by cron" in done.stdout
    assert installed.crontab is None


def test_the_daemons_method_tells_startd_why_it_cannot_run(installed: Headnode) -> None:
    for status in (95, 96, 0):
        (installed.home / "answer-1.0").write_text(str(status))
        done = installed.as_thoth(f"'{installed.top}/bin/collector'", env={"HOME": str(installed.home)})
        assert done.returncode == status
    assert (installed.home / "asked").read_text().splitlines()[-1].endswith("|--daemon|--detach")
    (installed.home / ".bashrc").unlink()
    done = installed.as_thoth(f"'{installed.top}/bin/collector'", env={"HOME": str(installed.home)})
    assert done.returncode == 96 and "sdc-thoth-install makes it" in done.stderr
