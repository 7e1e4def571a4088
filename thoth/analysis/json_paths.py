"""The part of the ``json`` command (https://github.com/trentm/json) that analyzers use, where it is not installed.

It is run as a program, by any Python 3 and without any package: it reads JSON from standard input and prints the
values at the paths that are its arguments, as the real one does.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any, NoReturn

_PART = re.compile(r"""\[(?P<number>-?\d+)\]|\[(?P<quote>["'])(?P<quoted>.*?)(?P=quote)\]|\.?(?P<plain>[^.\[]+)""")
_USAGE = "usage: json [-a] [-g] [-f FILE] [PATH...]"


class _Undefined:
    """What is at a path that leads nowhere."""


_UNDEFINED = _Undefined()


class Refused(Exception):
    """What was asked cannot be done; the text is the line for the user."""


def main(arguments: list[str]) -> int:
    """Do what the command line asks; returns the exit status."""
    try:
        options, paths = parsed(arguments)
        text = _read(options.get("f"))
        output = "".join(printed(text, paths, per_item="a" in options, group="g" in options))
    except Refused as refusal:
        sys.stderr.write(f"json: error: {refusal}\n")
        return 1
    sys.stdout.buffer.write(_bytes(output))
    return 0


def parsed(arguments: list[str]) -> tuple[dict[str, str], list[str]]:
    """The options, each with its value, and the paths. Raises Refused."""
    options: dict[str, str] = {}
    rest = list(arguments)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        _add_options(options, word, rest)
    return options, rest


def _add_options(options: dict[str, str], word: str, rest: list[str]) -> None:
    for at, letter in enumerate(word[1:], 2):
        if letter in "ag":
            options[letter] = ""
        elif letter == "f" and (word[at:] or rest):
            options["f"] = word[at:] or rest.pop(0)
            return
        else:
            _refuse(f"{word} is not known here; install https://github.com/trentm/json for it; {_USAGE}")


def printed(text: str, paths: list[str], *, per_item: bool, group: bool) -> list[str]:
    """What the paths find in a text, piece by piece. Raises Refused for a text that is not JSON.

    ``per_item`` takes an array's items one by one, a line for each; ``group`` takes several values, one after the
    other, as one array.
    """
    value = _grouped(text) if group else _loaded(text)
    if not per_item:
        found = [lookup(value, path) for path in paths] if paths else [value]
        return [shown + "\n" for shown in map(shape, found) if shown]
    items = value if isinstance(value, list) else [value]
    rows = ([lookup(item, path) for path in paths] if paths else [item] for item in items)
    return [" ".join(map(shape, row)) + "\n" for row in rows]


def lookup(value: Any, path: str) -> Any:
    """The value at ``a.b``, ``a[0]`` or ``a["b.c"]``; an array or a text has a ``length``."""
    at = 0
    while at < len(path):
        part = _PART.match(path, at)
        if part is None:
            _refuse(f"not a path: {path!r}")
        at = part.end()
        key = part["number"] or part["plain"] or part["quoted"] or ""
        value = _member(value, key)
    return value


def _member(value: Any, key: str) -> Any:
    if isinstance(value, dict):
        return value.get(key, _UNDEFINED)
    if isinstance(value, (list, str)) and key == "length":
        return len(value)
    if isinstance(value, list) and re.fullmatch(r"-?[0-9]{1,18}", key) and -len(value) <= int(key) < len(value):
        return value[int(key)]
    return _UNDEFINED


def shape(value: Any) -> str:
    """A value as it is printed: a text as it is, nothing for what is undefined, else JSON."""
    if value is _UNDEFINED:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(_as_javascript(value), indent=2, ensure_ascii=False)


def _as_javascript(value: Any) -> Any:
    """JavaScript writes 1.0 as 1."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return int(value)
    if isinstance(value, list):
        return [_as_javascript(item) for item in value]
    if isinstance(value, dict):
        return {key: _as_javascript(item) for key, item in value.items()}
    return value


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        _refuse(f"input is not JSON: {error}")


def _grouped(text: str) -> list[Any]:
    decoder, at, values = json.JSONDecoder(), 0, []
    try:
        while (at := _skip_blanks(text, at)) < len(text):
            value, at = decoder.raw_decode(text, at)
            values.append(value)
    except (ValueError, RecursionError) as error:
        _refuse(f"input is not JSON: {error}")
    if values and all(isinstance(value, list) for value in values):
        return [item for value in values for item in value]
    return values


def _skip_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _read(path: str | None) -> str:
    try:
        if path is None:
            return sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib takes longer to import than all the rest
            return file.read().decode("utf-8", "surrogateescape")
    except OSError as error:
        _refuse(f"{path}: {error.strerror}")


def _bytes(output: str) -> bytes:
    """As the bytes of the dump's own text where it is not UTF-8 (thoth.naming.text); U+FFFD for half a pair."""
    try:
        return output.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return output.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _refuse(message: str) -> NoReturn:
    raise Refused(message)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
