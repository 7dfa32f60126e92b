"""Ways to damage a file: its bytes whatever they mean, and its structure where it has one."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from typing import Any

__all__ = ["damage_arpa", "damage_bytes", "damage_json", "damage_lines", "damage_tensors", "damage_toml"]

NUMBERS = (
    "0",
    "-1",
    "-0",
    "-0.0",
    "1.5",
    "1e400",
    "-1e400",
    "1e308",
    "NaN",
    "Infinity",
    "9" * 19,
    "9" * 400,
    "1" + "0" * 5000,
)
POWERS = tuple(
    str(sign * 2**power + off) for power in (7, 16, 31, 32, 40, 53, 63, 64) for sign, off in ((1, 0), (1, -1), (-1, 0))
)
WORDS = (
    '""',
    '"x"',
    '"\\ud800"',
    '"\\u0000"',
    '"[/red]"',
    '"\\u001b[2J"',
    '"../../x"',
    '"/dev/zero"',
    '"pipe.txt"',
    '"-"',
)
SHAPES = ("null", "true", "false", "[]", "{}", "[1]", '{"a":{"b":1}}', "[" * 200 + "]" * 200, "[" * 5000, '[[[["x"]]]]')
VALUES = (*NUMBERS, *POWERS, *WORDS, *WORDS, *SHAPES)
MARK = "\ue000mutated\ue000"
DTYPES = ("F64", "F16", "BF16", "I8", "I64", "U8", "BOOL", "C64", "F8_E4M3", "F4", "X", "")
ARPA_WORDS = (
    "-99",
    "0",
    "1",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "<s>",
    "</s>",
    "<unk>",
    "\\end\\",
    "\\data\\",
    "x",
    "",
    "\udcff",
)


def damage_bytes(draw: random.Random, content: bytes) -> bytes:
    """Cut, emptied, bits flipped, a stretch repeated, zeroed or filled with noise."""
    place = draw.randrange(len(content) + 1)
    length = draw.choice((1, 1, 2, 8, 64, 1000))
    noise = draw.randbytes(length)
    end = place + length
    choices: list[Callable[[], bytes]] = [
        lambda: content[:place],
        lambda: b"",
        lambda: _flip(draw, content),
        lambda: _flip(draw, content),
        lambda: content[:place] + noise + content[place:],
        lambda: content[:place] + noise + content[end:],
        lambda: content[:place] + content[end:],
        lambda: content[:place] + bytes(length) + content[end:],
        lambda: content[:end] + content[place:],
        lambda: content + noise,
        lambda: content + content,
        lambda: content.replace(b"\n", b"\r\n"),
        lambda: b"\xef\xbb\xbf" + content,
        lambda: content.decode("utf-8", "replace").encode("utf-16"),
    ]
    return draw.choice(choices)()


def _flip(draw: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 3, 20))):
        if changed:
            changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def damage_json(draw: random.Random, content: bytes) -> bytes:
    """A value of another type, a key gone, twice there or renamed; numbers that no program expects."""
    document = json.loads(content)
    literal = draw.choice(VALUES)
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        place = draw.choice(_places(document))
        document = _changed(draw, document, place)
    text = json.dumps(document, ensure_ascii=draw.random() < 0.5)
    return text.replace(json.dumps(MARK), literal).replace(f'"{MARK}"', literal).encode("utf-8", "surrogatepass")


def _places(values: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value, of long lists and tables only some, so that each part of a document has its turn."""
    found = [path]
    entries: list[tuple[Any, Any]] = []
    if isinstance(values, dict):
        entries = list(values.items())
    elif isinstance(values, list):
        entries = list(enumerate(values))
    for key, value in entries[:12] + entries[-3:] * (len(entries) > 12):
        found += _places(value, (*path, key))
    return found


def _changed(draw: random.Random, document: Any, path: tuple[Any, ...]) -> Any:
    if not path:
        return MARK if draw.random() < 0.3 else document
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    key, value = path[-1], inner[path[-1]]
    action = draw.randrange(6)
    if action < 3:
        inner[key] = MARK
    elif action == 3:
        del inner[key]
    elif isinstance(inner, dict) and action == 4:
        inner[draw.choice(("", "x", f"{key}x", "\x00", "format", "__class__"))] = value
        if draw.random() < 0.5:
            del inner[key]
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        inner[key] = value + draw.choice((1, -1, 0.5 if abs(value) < 2**53 else 2, value))
    elif isinstance(inner, dict):
        other = draw.choice(sorted(inner, key=str))
        inner[key], inner[other] = inner[other], inner[key]
    else:
        inner.append(value)
    return document


def damage_tensors(draw: random.Random, content: bytes) -> bytes:
    """The header of a safetensors file changed, or the numbers behind it."""
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    names = [name for name in header if name != "__metadata__"]
    name, other = draw.choice(names), draw.choice(names)
    entry = header[name]
    begin, end = entry["data_offsets"]
    action = draw.randrange(12)
    if action == 0:
        entry["dtype"] = draw.choice(DTYPES)
    elif action == 1:
        entry["shape"] = draw.choice(
            ([], [0], entry["shape"][::-1], [2**40], [-1], [1, *entry["shape"]], [2**63, 2], "x", [1.5])
        )
    elif action == 2:
        entry["data_offsets"] = draw.choice(
            ([0, 0], [end, begin], [begin + 4, end + 4], [-4, end], [0, 2**62], [begin], "x")
        )
    elif action == 3:
        del header[name]
    elif action == 4:
        header[name + draw.choice((".x", "\x00", "ü"))] = entry
    elif action == 5:
        header[name], header[other] = header[other], header[name]
    elif action == 6:
        header["__metadata__"] = draw.choice(
            ({}, {"lmkit": "{}"}, {"lmkit": "x"}, {"lmkit": 1}, "x", None, {"a": "b"}, {"lmkit": "[]"})
        )
    elif action == 7:
        data = data[:begin] + draw.randbytes(end - begin) + data[end:]
    elif action == 8:
        data = (
            data[:begin] + struct.pack("<f", draw.choice((float("nan"), float("inf"), 1e30, -1.0))) + data[begin + 4 :]
        )
    elif action == 9:
        data += draw.randbytes(draw.choice((1, 4, 4096)))
    elif action == 10:
        return struct.pack("<Q", draw.choice((0, 1, length - 1, length + 1, 2**31, 2**63, 2**64 - 1))) + content[8:]
    else:
        data = _flip(draw, data)
    text = json.dumps(header).encode()
    text += b" " * draw.choice((0, 0, -len(text) % 8, 3))
    return struct.pack("<Q", len(text)) + text + data


def damage_lines(draw: random.Random, content: bytes) -> bytes:
    """Lines of a text gone, twice there, in another order, or of another kind."""
    lines = content.splitlines(keepends=True) or [b""]
    place, other = draw.randrange(len(lines)), draw.randrange(len(lines))
    action = draw.randrange(5)
    if action == 0:
        del lines[place]
    elif action == 1:
        lines.insert(place, lines[other])
    elif action == 2:
        lines[place], lines[other] = lines[other], lines[place]
    elif action == 3:
        lines.insert(place, draw.choice(VALUES).encode() + b"\n")
    else:
        lines[place] = draw.choice(VALUES).encode() + b"\n"
    return b"".join(lines)


def damage_arpa(draw: random.Random, content: bytes) -> bytes:
    """A field of a line changed, or a count."""
    lines = content.split(b"\n")
    place = draw.randrange(len(lines)) if draw.random() < 0.6 else draw.randrange(min(6, len(lines)))
    word = draw.choice((*ARPA_WORDS, *NUMBERS)).encode("utf-8", "surrogateescape")
    separator = b"=" if b"=" in lines[place] else b"\t"
    fields = lines[place].split(separator)
    action = draw.randrange(3)
    if action == 0:
        fields[draw.randrange(len(fields))] = word
    elif action == 1:
        fields.insert(draw.randrange(len(fields) + 1), word)
    else:
        del fields[draw.randrange(len(fields))]
    lines[place] = separator.join(fields)
    return b"\n".join(lines)


def damage_toml(draw: random.Random, content: bytes) -> bytes:
    """A key with another value, or another key."""
    lines = content.decode().splitlines()
    place = draw.randrange(len(lines))
    key, _, _ = lines[place].partition(" = ")
    huge = draw.choice(
        ("9" * 30, "1" + "0" * 5000, "inf", "nan", "1e400", "0xffffffffffffffffffff", "1979-05-27", "true")
    )
    value = draw.choice((huge, "[1, 2]", "{a = 1}", '"x"', '""', "[" * 3000, "'''x", "-1", "{", '"\\ud800"', "[[]]"))
    deep = ".".join(["a"] * 3000)
    lines[place] = draw.choice(
        (f"{key} = {value}", f"{key} = {value}", f"x = {value}", f"[{value}]", f"{deep} = 1", value)
    )
    return "\n".join(lines).encode()
