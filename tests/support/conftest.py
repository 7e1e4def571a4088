"""A Manta test server with one account, and clients of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.manta_client import Client, Signer
from tests.support.manta_server import Account, MantaServer


@pytest.fixture(scope="session")
def alice() -> Signer:
    """Who owns the account that every server here has."""
    return Signer(rsa.generate_private_key(65537, 2048))


@pytest.fixture
def serve(alice: Signer) -> Iterator[Callable[..., MantaServer]]:
    """Starts servers that end with the test; takes what MantaServer takes, and further accounts."""
    with ExitStack() as undo:
        account = Account("alice", (alice.public,))
        yield lambda *more, **wishes: undo.enter_context(MantaServer(account, *more, **wishes))


@pytest.fixture
def server(serve: Callable[..., MantaServer]) -> MantaServer:
    return serve()


@pytest.fixture
def connect(alice: Signer) -> Iterator[Callable[..., Client]]:
    """Opens connections to a server, alice's unless another signer is named."""
    with ExitStack() as undo:
        yield lambda server, signer=alice: undo.enter_context(Client(server.port, signer))


@pytest.fixture
def client(server: MantaServer, connect: Callable[..., Client]) -> Client:
    return connect(server)
