"""What the stand-ins of illumos_tools are: each is a copy of this file, named after the program it stands for."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import sys
from pathlib import Path
from typing import Any, NoReturn

PROGRAM = Path(sys.argv[0]).absolute()
NAME = PROGRAM.name
TABLE = PROGRAM.parent.parent / "known.json"


def main(arguments: list[str]) -> int:
    """What the program of this name does."""
    return {"mdb": mdb, "pargs": pargs, "savecore": savecore}[NAME](arguments)


def mdb(arguments: list[str]) -> int:
    """``mdb [-S] -e COMMANDS FILE``. Like the real one it goes on after a command that failed."""
    arguments = arguments[1:] if arguments[:1] == ["-S"] else arguments  # without ~/.mdbrc, which it has not
    if len(arguments) != 3 or arguments[0] != "-e":
        die("usage: mdb -e COMMANDS FILE (all that this stand-in does)")
    about = known(arguments[2], "commands")
    loaded: set[str] = set()
    for command in filter(None, (each.strip() for each in arguments[1].replace("\n", ";").split(";"))):
        evaluate(command, about, loaded)
    return 0


def evaluate(command: str, about: dict[str, Any], loaded: set[str]) -> None:
    """Answer one command of mdb."""
    if command.startswith("::load "):
        module = command.split()[1]
        if not any(each.startswith(f"{module} ") for each in about["commands"]):
            complain(f"failed to load {module}: no module by that name, or it knows nothing of this dump")
            return
        loaded.add(module)
        if module == "v8":
            print("V8 version: 3.14.5.9\nAutoconfigured V8 support from target\nC++ symbol demangling enabled")
        return
    for name in (command, *(f"{module} {command}" for module in sorted(loaded))):
        if name in about["commands"]:
            sys.stdout.write(about["commands"][name])
            return
    complain(f"invalid command '{command}': unknown dcmd name")


def pargs(arguments: list[str]) -> int:
    """``pargs -e CORE``."""
    if len(arguments) != 2 or arguments[0] != "-e":
        die("usage: pargs -e CORE (all that this stand-in does)")
    if kind_of(arguments[1]) != "core":
        die(f"cannot examine {arguments[1]}: not a core file")
    about = known(arguments[1], "environment")
    print(f"core '{arguments[1]}'")
    for number, entry in enumerate(about["environment"]):
        print(f"envp[{number}]: {entry}")
    return 0


def savecore(arguments: list[str]) -> int:
    """``savecore -vf VMDUMP DIRECTORY``."""
    if len(arguments) != 3 or arguments[0] != "-vf":
        die("usage: savecore -vf VMDUMP DIRECTORY (all that this stand-in does)")
    if kind_of(arguments[1]) != "vmdump":
        die(f"{arguments[1]}: not a compressed crash dump")
    about = known(arguments[1], "expanded")
    print(f"savecore: saving system crash dump in {arguments[2]}/{{unix,vmcore}}.0", file=sys.stderr)
    shutil.copyfile(about["expanded"], Path(arguments[2], "vmcore.0"))
    return 0


def known(path: str, what: str) -> dict[str, Any]:
    """What was told of this very file."""
    kind = kind_of(path)
    if NAME == "mdb" and kind == "vmdump":
        die(f"{path} is a compressed crash dump; expand it with savecore -vf")
    if kind is None:
        die(f"{path} is not a core file or a crash dump")
    about = json.loads(TABLE.read_text()).get(hashlib.sha256(Path(path).read_bytes()).hexdigest())
    if about is None or about[what] is None:
        die(f"{path}: this stand-in was told nothing of it")
    return dict(about)


def kind_of(path: str) -> str | None:
    """core, vmdump or vmcore, as its first bytes say; None for anything else."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(64)
    except OSError as error:
        die(f"failed to open {path}: {error.strerror}")
    if head[:4] == b"\x7fELF" and len(head) >= 18:
        return "core" if struct.unpack_from("<H" if head[5] == 1 else ">H", head, 16)[0] == 4 else None
    for mark in "<>":
        if len(head) >= 12 and struct.unpack_from(mark + "I", head)[0] == 0xDEFEC8ED:
            return "vmdump" if struct.unpack_from(mark + "I", head, 8)[0] & 0x8 else "vmcore"
    return None


def complain(message: str) -> None:
    """A line on stderr, as these programs have it."""
    print(f"{NAME}: {message}", file=sys.stderr)


def die(message: str) -> NoReturn:
    """The same, and the end."""
    complain(message)
    sys.exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
