"""An instance has its ports from the moment they are chosen, and nobody else does."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence

import pytest

from careforall.launch.errors import LaunchError
from careforall.launch.ports import LOOPBACK, Doors, free_port

Opener = Callable[[Sequence[int]], Doors]


@pytest.fixture
def opened() -> Iterator[Opener]:
    doors: list[Doors] = []

    def open_doors(public: Sequence[int]) -> Doors:
        doors.append(Doors.opened(public, internal={"api": 0, "worker": 0}))
        return doors[-1]

    yield open_doors
    for one in doors:
        one.close()


def test_two_that_want_the_same_port_at_the_same_moment_do_not_meet(opened: Opener) -> None:
    wanted = [free_port(), 0]
    first, second = opened(wanted), opened(wanted)
    ports = [first.port, second.port, *first.internal_ports.values(), *second.internal_ports.values()]
    assert len(set(ports)) == 6
    assert first.port == wanted[0]


def test_a_port_that_was_named_is_not_replaced(opened: Opener) -> None:
    taken = opened([0]).port
    with pytest.raises(LaunchError, match=f"Port {taken} is taken by another program: choose another, or --port 0"):
        opened([taken])


def test_a_port_that_a_sharing_program_listens_on_is_taken(opened: Opener) -> None:
    with socket.create_server((LOOPBACK, 0), reuse_port=True) as sharing:
        port = sharing.getsockname()[1]
        assert opened([port, 0]).port != port


def test_who_comes_before_anybody_answers_is_not_refused(opened: Opener) -> None:
    doors = opened([0])
    with socket.create_connection((LOOPBACK, doors.port), timeout=5) as early:
        early.sendall(b"?")
        answerer, _ = doors.public.accept()
        with answerer:
            assert answerer.recv(1) == b"?"


def test_the_first_process_gets_the_public_door_too(opened: Opener) -> None:
    doors = opened([0])
    assert doors.of("api", serves=True) == [doors.public.fileno(), doors.internal["api"].fileno()]
    assert doors.of("worker", serves=False) == [doors.internal["worker"].fileno()]
