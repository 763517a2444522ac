"""Random changes of bytes and of JSON, from a generator alone."""

import json
import random
from collections.abc import Sequence
from typing import Any

NASTY = (
    *(b"\x00", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\r", b"\n", b"\n\n", b"\t", b'"', b'""', b"'"),
    *(b"\\", b"\\ud800", b"\\ud83d\\ude80", b"\\u0000", b"\\u202e", b"\x1b[2J", "\u202e".encode(), "\u2028".encode()),
    *(b"{", b"}", b"[", b"]", b"[[[[[[[[", b"{}", b"[]", b"null", b"true", b"NaN", b"-Infinity", b"1e999", b"-1", b"0"),
    *(b"9" * 30, b"9" * 5000, b"0.1", b",", b";", b":", b"=", b"<", b">", b"<a>", b"</a>", b"{x}", b"%s", b"../", b"/"),
    *(b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1", b"---\n", b"```\n", b"| a |\n|---|\n", b"# ", b"> ", b"- ", b"&#x0;"),
    *(b" " * 300, b"." * 300, b"[" * 3000, b'{"a":' * 3000, b"a" * 3000, "é".encode() * 300, "\u0301".encode() * 300),
)
"""What readers stumble over: broken encodings, marks of other formats, numbers out of range, nesting, control signs."""

ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, -(2**63), 10**400, 0.5, -0.0, float("nan"), float("inf"), 1e308),
    *("", " ", "\n", "\x00", "\ud800", "\u202e", "\x1b[2J", "a" * 5000, "../../x", "nan", "1", "é"),
    *([], {}, [[]], [None], [0, 1], ["a", "b"], {"a": {}}, {"": None}, [{}], [["a", 0, 1]]),
)


def mutated(content: bytes, generator: random.Random, others: Sequence[bytes]) -> bytes:
    """Bytes with one to four random changes.

    Args:
        content: valid bytes.
        generator: decides everything.
        others: valid bytes of the same kind, parts of which are taken over.
    """
    if generator.random() < 0.4 and (changed := _mutated_json(content, generator)) is not None:
        content = changed
        if generator.random() < 0.7:
            return content
    for _ in range(generator.choice((1, 1, 1, 2, 2, 3, 4))):
        content = generator.choice(_CHANGES)(content, generator, others)
    return content


def _place(content: bytes, generator: random.Random) -> int:
    return generator.randrange(len(content) + 1)


def _flipped(content: bytes, generator: random.Random, others: Sequence[bytes]) -> bytes:
    if not content:
        return b"\x00"
    changed = bytearray(content)
    for _ in range(generator.choice((1, 1, 3, 20))):
        changed[generator.randrange(len(changed))] ^= 1 << generator.randrange(8)
    return bytes(changed)


def _cut(content: bytes, generator: random.Random, others: Sequence[bytes]) -> bytes:
    return content[: _place(content, generator)]


def _without(content: bytes, generator: random.Random, others: Sequence[bytes]) -> bytes:
    start, end = sorted((_place(content, generator), _place(content, generator)))
    return content[:start] + content[end:]


def _with_nasty(content: bytes, generator: random.Random, others: Sequence[bytes]) -> bytes:
    place = _place(content, generator)
    return content[:place] + generator.choice(NASTY) + content[place:]


def _with_noise(content: bytes, generator: random.Random, others: Sequence[bytes]) -> bytes:
    place = _place(content, generator)
    return content[:place] + generator.randbytes(generator.choice((1, 4, 64))) + content[place:]


def _repeated(content: bytes, generator: random.Random, others: Sequence[bytes]) -> bytes:
    start, end = sorted((_place(content, generator), _place(content, generator)))
    part = content[start:end]
    times = generator.choice((2, 3, 10, 100))
    return content[:start] + part * min(times, max(1, _MOST_BYTES // (len(part) + 1))) + content[end:]


def _spliced(content: bytes, generator: random.Random, others: Sequence[bytes]) -> bytes:
    other = generator.choice(others) if others else content
    return content[: _place(content, generator)] + other[_place(other, generator) :]


def _swapped_lines(content: bytes, generator: random.Random, others: Sequence[bytes]) -> bytes:
    lines = content.split(b"\n")
    generator.shuffle(lines)
    return b"\n".join(lines)


_MOST_BYTES = 300_000
_CHANGES = (
    _flipped,
    _flipped,
    _cut,
    _without,
    _with_nasty,
    _with_nasty,
    _with_noise,
    _repeated,
    _spliced,
    _swapped_lines,
)


def _mutated_json(content: bytes, generator: random.Random) -> bytes | None:
    """A JSON value, or one line of JSON's, with another value somewhere; None where there is none."""
    lines = content.split(b"\n")
    number = generator.randrange(len(lines))
    for whole in (True, False):
        try:
            value = json.loads(content if whole else lines[number])
        except (ValueError, RecursionError):
            continue
        changed = json.dumps(_with_odd_value(value, generator), ensure_ascii=generator.random() < 0.5)
        encoded = changed.encode("utf-8", "surrogatepass")
        return encoded if whole else b"\n".join([*lines[:number], encoded, *lines[number + 1 :]])
    return None


def _with_odd_value(value: Any, generator: random.Random) -> Any:
    if isinstance(value, dict) and value and generator.random() < 0.85:
        key = generator.choice(list(value))
        action = generator.random()
        if action < 0.12:
            return {other: one for other, one in value.items() if other != key}
        if action < 0.2:
            return {**value, generator.choice(("", "x", "\x1b[0m", "format", "text", key.upper())): value[key]}
        return {**value, key: _with_odd_value(value[key], generator)}
    if isinstance(value, list) and value and generator.random() < 0.85:
        place = generator.randrange(len(value))
        action = generator.random()
        if action < 0.12:
            return value[:place] + value[place + 1 :]
        if action < 0.2:
            return value + [value[place]] * generator.choice((1, 100))
        return [*value[:place], _with_odd_value(value[place], generator), *value[place + 1 :]]
    return generator.choice(ODD_VALUES)
