"""Fields of a protobuf message that is at hand as bytes: found, exchanged and made without parsing the rest. Stdlib and `load.wire` only.

What is not exchanged stays as it is byte for byte, unknown fields and unusual orders included; a parser that writes again promises neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from trainaudit.load.cutting import encoded_varint
from trainaudit.load.wire import Entry, WireError, varint

_WIDTHS = {1: 8, 5: 4}


def fields(content: bytes) -> Iterator[Entry]:
    """(number, wire type, start, start of the payload, end) of each field, in order. Raises `WireError`."""
    position, end = 0, len(content)
    try:
        while position < end:
            tag, payload = varint(content, position)
            wire = tag & 7
            if wire == 2:
                length, payload = varint(content, payload)
                stop = payload + length
            elif wire == 0:
                stop = varint(content, payload)[1]
            elif wire in _WIDTHS:
                stop = payload + _WIDTHS[wire]
            else:
                raise WireError(f"a field has the wire type {wire}")
            if stop > end:
                raise WireError("a field ends after its message")
            yield tag >> 3, wire, position, payload, stop
            position = stop
    except IndexError:
        raise WireError("a field is cut off") from None


def field(number: int, payload: bytes | str) -> bytes:
    """A field that has a length: text, bytes or a message."""
    octets = payload.encode() if isinstance(payload, str) else payload
    return head(number, len(octets)) + octets


def head(number: int, length: int) -> bytes:
    """What stands before a payload of that many bytes."""
    return encoded_varint(number << 3 | 2) + encoded_varint(length)


def entry(number: int, key: str, value: str) -> bytes:
    """A StringStringEntryProto as a field."""
    return field(number, field(1, key) + field(2, value))


def exchanged(content: bytes, number: int, new: Mapping[int, bytes | None]) -> bytes:
    """The message with other fields of that number: `new` maps places among them (0 is the first) to the fields that stand there now (None: none)."""
    parts: list[bytes] = []
    place = 0
    for found, _, start, _, stop in fields(content):
        if found != number:
            parts.append(content[start:stop])
            continue
        part = new[place] if place in new else content[start:stop]
        place += 1
        if part is not None:
            parts.append(part)
    return b"".join(parts)


def texts(content: bytes, number: int) -> list[str]:
    """The texts of the fields of that number."""
    return [
        content[payload:stop].decode()
        for found, wire, _, payload, stop in fields(content)
        if found == number and wire == 2
    ]


def message_parts(message: bytes) -> Iterator[tuple[Entry, bytes]]:
    """Each field of a message with its bytes."""
    for found in fields(message):
        yield found, message[found[2] : found[4]]
