"""What the URLs of a store and an index name."""

from __future__ import annotations

from pathlib import Path

import pytest

from thoth.errors import UsageError
from thoth.index.rethink_place import RethinkPlace, TlsPlace
from thoth.places import index_place


def server(url: str, user: str = "bcantrill") -> RethinkPlace:
    place = index_place(url, "THOTH_DB", user)
    assert isinstance(place, RethinkPlace)
    return place


def refused(url: str) -> str:
    with pytest.raises(UsageError) as caught:
        index_place(url, "THOTH_DB", "bcantrill")
    return str(caught.value)


def test_a_file() -> None:
    assert index_place("sqlite:///a%20b/x.db", "THOTH_DB", "u") == Path("/a b/x.db")


def test_a_server_by_its_name_alone() -> None:
    found = server("rethinkdb://db")
    assert (found.host, found.port, found.database) == ("db", 28015, "bcantrill")
    assert (found.user, found.password, found.tls) == ("admin", "", None)


@pytest.mark.parametrize(
    ("user", "database"), [("b.c", "b_c"), ("first.last@example.com", "first_last_example_com"), ("x-y", "x-y")]
)
def test_the_database_is_the_user_s(user: str, database: str) -> None:
    assert server("rethinkdb://db/", user).database == database


def test_all_that_a_url_can_say() -> None:
    found = server("rethinkdb://ops:I%3C3%40dumps@[::1]:29000/x?tls=1&ca=%2Fetc%2Fca.pem")
    assert found == RethinkPlace("::1", "x", 29000, "ops", "I<3@dumps", TlsPlace("/etc/ca.pem"))
    assert "dumps" not in repr(found)
    assert server("rethinkdb://db?tls=1").tls == TlsPlace(None)
    assert server("rethinkdb://db?tls=0").tls is None


@pytest.mark.parametrize(
    "url",
    [
        "rethinkdb://",
        "rethinkdb:///x",
        "rethinkdb://u:SECRET@db:port/x",
        "rethinkdb://u:SECRET@db:99999/x",
        "rethinkdb://u:SECRET@db?authKey=SECRET",
        "rethinkdb://u:SECRET@db?tls",
        "rethinkdb://u:SECRET@db?tls=",
        "rethinkdb://u:SECRET@db?tls=1&ca=",
        "rethinkdb://u:SECRET@db?tls=false",
        "rethinkdb://u:SECRET#x@db/y",
        "rethinkdb://u:SECRET@[db/x",
    ],
)
def test_F71_what_is_wrong_is_said_without_the_password(url: str) -> None:
    message = refused(url)
    assert message.startswith("THOTH_DB: db 'rethinkdb:")
    assert "SECRET" not in message


def test_other_urls() -> None:
    message = refused("postgres://db/x")
    assert message.startswith("THOTH_DB: db 'postgres://db/x': this version knows sqlite:///ABSOLUTE/PATH and ")
    assert "write sqlite:///x.db" in refused("/x.db")
