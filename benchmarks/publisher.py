"""`python -m benchmarks.publisher JSON`: publishes as fast as the server takes it.

It writes one batch of pre-encoded PUBLISH commands for each byte on its standard input, and ends
with it. The server is told not to answer, so that nothing has to be read.
"""

from __future__ import annotations

import json
import os
import socket
import sys

from benchmarks import data
from benchmarks.address import Address

READ_BYTES = 4096
NAME = "publisher"  # of its connection, as the server knows it


def encode(*arguments: bytes) -> bytes:
    """One command as an array of bulk strings."""
    parts = [b"*%d\r\n" % len(arguments)]
    parts += [b"$%d\r\n%s\r\n" % (len(argument), argument) for argument in arguments]
    return b"".join(parts)


def publish(address: Address, channel: str) -> None:
    batch = b"".join(encode(b"PUBLISH", channel.encode(), message) for message in data.messages())
    with socket.create_connection(address) as connection:
        connection.sendall(encode(b"CLIENT", b"SETNAME", NAME.encode()))
        connection.sendall(encode(b"CLIENT", b"REPLY", b"OFF"))
        while wanted := os.read(sys.stdin.fileno(), READ_BYTES):
            for _ in wanted:
                connection.sendall(batch)


def main(argument: str) -> None:
    order = json.loads(argument)
    publish(Address(*order["address"]), order["channel"])


if __name__ == "__main__":
    main(sys.argv[1])
