"""What a link really gives: payload of one TCP connection, both ends plain sockets."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import suppress

from shaped_link import Link

PORT = 29_400
WARM_S, SECONDS = 0.4, 1.6
_CHUNK = bytes(256 * 1024)


def throughput(link: Link) -> float:
    """Return the bits a second that rank 0 gets from rank 1, TCP's payload, after the start of the connection."""
    receiving = link.command(0, [sys.executable, "-S", __file__, "receive", link.addresses[0]])
    sending = link.command(1, [sys.executable, "-S", __file__, "send", link.addresses[0]])
    with subprocess.Popen(receiving, stdout=subprocess.PIPE, text=True) as receiver, subprocess.Popen(sending):
        said, _ = receiver.communicate()
    return float(said)


def receive(address: str) -> float:
    """Take what comes for a while; return bits a second."""
    with socket.create_server((address, PORT)) as server, server.accept()[0] as connection:
        started, taken, since = time.perf_counter(), 0, 0.0
        while (now := time.perf_counter()) - started < WARM_S + SECONDS:
            got = len(connection.recv(len(_CHUNK)))
            if since:
                taken += got
            elif now - started > WARM_S:
                since = time.perf_counter()
        return taken * 8 / (time.perf_counter() - since)


def send(address: str) -> None:
    """Send until nobody takes it any more."""
    with suppress(OSError), _connected(address) as connection:
        while True:
            connection.sendall(_CHUNK)


def _connected(address: str) -> socket.socket:
    for _ in range(100):
        with suppress(ConnectionError):
            return socket.create_connection((address, PORT), timeout=5)
        time.sleep(0.05)
    raise ConnectionError(address)


if __name__ == "__main__":
    if sys.argv[1] == "receive":
        print(receive(sys.argv[2]))
    else:
        send(sys.argv[2])
