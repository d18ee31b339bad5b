"""How a process and its decoder talk: messages of JSON, each behind its length, and raw bytes behind those that announce them."""

import json
import socket
import struct
from typing import Any

_LENGTH = struct.Struct("<I")
STATUS = struct.Struct("<i")
"""How a decoder ended: its exit status, or minus the signal."""


def packed(message: object) -> bytes:
    """A message as it is sent."""
    content = json.dumps(message).encode()
    return _LENGTH.pack(len(content)) + content


def length_of(head: bytes | bytearray) -> int:
    """The length of the message behind its first four bytes."""
    return int(_LENGTH.unpack(head)[0])


def received(connection: socket.socket) -> Any:
    """The next message, waited for. Raises EOFError."""
    return json.loads(_exactly(connection, length_of(_exactly(connection, _LENGTH.size))))


def _exactly(connection: socket.socket, count: int) -> bytes:
    content = b""
    while len(content) < count:
        piece = connection.recv(count - len(content))
        if not piece:
            raise EOFError("the connection was closed")
        content += piece
    return content
