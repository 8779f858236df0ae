"""Digests by which damage is seen: CRC-32, which every flipped bit changes. They do not keep out whoever forges."""

import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

_KEY = 'crc32_of_the_rest'


def of_bytes(data: bytes) -> str:
    """8 hexadecimal digits."""
    return f'{zlib.crc32(data):08x}'


def of_array(array: np.ndarray) -> str:
    """Its dtype and shape, and a digest of its values."""
    array = np.ascontiguousarray(array)
    return f'{array.dtype}{list(np.shape(array))} {zlib.crc32(array.reshape(-1).view(np.uint8).data):08x}'


def of_rows(rows: np.ndarray) -> np.ndarray:
    """[n] uint32 of [n, D] float32: the sum of a row's bits by words, which is as quick as memory."""
    return np.add.reduce(np.ascontiguousarray(rows).view(np.uint32), axis=1, dtype=np.uint32)


def signed(value: Mapping[str, Any]) -> dict[str, Any]:
    """The value, which JSON can hold, with a digest of itself."""
    return {**value, _KEY: _of_json(value)}


def problem(value: Any) -> str:
    """What is wrong with an object from JSON that carries a digest; '' where nothing is, as with older ones."""
    if not isinstance(value, dict) or _KEY not in value:
        return ''
    rest = {key: one for key, one in value.items() if key != _KEY}
    return (
        '' if value[_KEY] == _of_json(rest) else 'its contents are not those that were written: their digest is another'
    )


def _of_json(value: Mapping[str, Any]) -> str:
    return of_bytes(json.dumps(value, sort_keys=True).encode())
