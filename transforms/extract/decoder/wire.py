"""Protocol between a process and its decoder: length-prefixed JSON messages, some followed by the raw bytes they announce."""

import json
import socket
import struct
from typing import Any

_LENGTH = struct.Struct("<I")
STATUS = struct.Struct("<i")
"""Exit status of a decoder, or the negative signal number."""


def packed(message: object) -> bytes:
    """Serialize a message."""
    content = json.dumps(message).encode()
    return _LENGTH.pack(len(content)) + content


def length_of(head: bytes | bytearray) -> int:
    """The length of a message in bytes, from the four bytes before it."""
    return int(_LENGTH.unpack(head)[0])


def received(connection: socket.socket) -> Any:
    """Wait for the next message. Raises EOFError."""
    return json.loads(_exactly(connection, length_of(_exactly(connection, _LENGTH.size))))


def _exactly(connection: socket.socket, count: int) -> bytes:
    content = b""
    while len(content) < count:
        piece = connection.recv(count - len(content))
        if not piece:
            raise EOFError("the connection was closed")
        content += piece
    return content
