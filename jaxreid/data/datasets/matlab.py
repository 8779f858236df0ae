"""Tables of numbers in MATLAB files, of format 5 to 7 and of 7.3 (which is HDF5), with errors that name the file.

The older format is read here and not by SciPy, whose compiled reader ends the whole process on some damaged files.
Source: the format's description, "MAT-File Format" by The MathWorks.
"""

import math
import os
import struct
import zlib
from collections.abc import Iterator

import numpy as np

_HEAD = 128  # bytes before the first element
_ORDER = {b'IM': '<', b'MI': '>'}  # byte order mark at the head's end
_MATRIX, _COMPRESSED = 14, 15  # types of elements; the others that matter hold numbers:
_NUMBERS = {1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4', 9: 'f8', 12: 'i8', 13: 'u8'}
_NUMERIC_CLASSES = range(6, 16)  # of matrices: double, single, and integers of 8 to 64 bits
_COMPLEX = 0x800  # flag of a matrix
_MAX_INTEGER = 2.0**53  # beyond, doubles do not tell whole numbers apart
_MAX_BYTES = 2**30  # of a variable; what grows beyond is damaged


def read(path: str | os.PathLike, key: str) -> np.ndarray:
    """Variable `key` as MATLAB shows it: a table of N rows is [N, columns] from either format.

    Raises:
      ValueError: not a MATLAB file, or without such a table.
    """
    variables = read_all(path, (key,))
    if key not in variables:
        raise ValueError(f'{os.fspath(path)} has no variable {key}; it is not the file of the download.')
    return variables[key]


def read_all(path: str | os.PathLike, keys: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Those of the variables `keys` that the file has; see `read`."""
    import h5py  # the settings know every reader, and what reads settings alone does without

    path = os.fspath(path)
    try:
        if h5py.is_hdf5(path):
            with h5py.File(path, mode='r') as file:
                variables = {key: file[key] for key in keys if isinstance(file.get(key), h5py.Dataset)}
                large = [key for key, variable in variables.items() if variable.nbytes > _MAX_BYTES]
                if large:
                    raise ValueError(f'its variable {large[0]} claims {variables[large[0]].nbytes} bytes')
                # MATLAB stores columns first, HDF5 shows them as rows.
                return {key: np.asarray(variable[()]).T for key, variable in variables.items()}
        with open(path, 'rb') as file:
            return dict(_variables(file.read(), keys))
    except Exception as error:  # a damaged file raises many kinds
        raise ValueError(f'{path} cannot be read as a MATLAB file ({error}); download it again.') from error


def marks(values: np.ndarray, count: int, *, what: str, row: str, table: str) -> np.ndarray:
    """Mask [count] bool of the rows that a table of numbers, of any type and shape, names from 1; `what`, `row` and
    `table` are the numbers, what one of them names, and of what, for messages.

    Raises:
      ValueError: a number is no whole one, names no row, or one that is named already.
    """
    # uint16 in the file of MARS: 65535 and below fit, but 0 - 1 would wrap around silently.
    rows = integers(values, what).reshape(-1) - 1
    outside = rows[(rows < 0) | (rows >= count)]
    if outside.size:
        raise ValueError(
            f'{what} names {row} {outside[0] + 1}, but {table} has {row}s 1 to {count}. Take both from one download.'
        )
    if np.unique(rows).size != rows.size:
        raise ValueError(f'{what} names a {row} twice; each query is one {row} of {table}.')
    marked = np.zeros(count, bool)
    marked[rows] = True
    return marked


def integers(array: np.ndarray, what: str) -> np.ndarray:
    """int64 copy; MATLAB stores whole numbers as doubles where nobody asked for integers.

    Raises:
      ValueError: not numbers, or not whole ones.
    """
    array = np.asarray(array)
    if array.dtype.kind in 'iuf':
        as_double = array.astype(np.float64)
        # Comparisons with NaN are false.
        if np.all(np.abs(as_double) <= _MAX_INTEGER) and np.array_equal(as_double, np.floor(as_double)):
            return array.astype(np.int64)
    raise ValueError(f'{what} holds {array.dtype} values that are not whole numbers.')


def _variables(data: bytes, keys: tuple[str, ...]) -> Iterator[tuple[str, np.ndarray]]:
    order = _ORDER.get(data[_HEAD - 2 : _HEAD])
    if order is None:
        raise ValueError('it has not the head of format 5 to 7.3')
    for kind, content in _elements(data[_HEAD:], order):
        if kind == _COMPRESSED:
            content = zlib.decompressobj().decompress(content, _MAX_BYTES)
            kind, content = next(_elements(content, order), (0, b''))
        if kind != _MATRIX:
            continue
        flags, shape, name, *parts = _elements(content, order)
        key = name[1].decode('latin-1')
        if key not in keys:
            continue
        (flag,) = struct.unpack_from(f'{order}I', flags[1])
        if flag & 0xFF not in _NUMERIC_CLASSES or flag & _COMPLEX or len(parts) != 1 or parts[0][0] not in _NUMBERS:
            raise ValueError(f'its variable {key} is not a table of real numbers')
        sizes = np.frombuffer(shape[1], f'{order}i4').tolist()
        numbers = np.frombuffer(parts[0][1], order + _NUMBERS[parts[0][0]])
        if min(sizes, default=0) < 0 or math.prod(sizes) != numbers.size:
            raise ValueError(f'its variable {key} of shape {sizes} has {numbers.size} numbers')
        yield key, numbers.reshape(sizes, order='F')


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and content of each element."""
    place = 0
    while place < len(data):
        kind, size = struct.unpack_from(f'{order}II', data, place)
        if kind >> 16:  # up to four bytes of content stand in the tag itself
            kind, size, start, following = kind & 0xFFFF, kind >> 16, place + 4, place + 8
        else:
            start = place + 8
            following = start + size + (0 if kind == _COMPRESSED else -size % 8)
        if start + size > min(following, len(data)):
            raise ValueError(f'it ends at byte {len(data)}, within a variable')
        yield kind, data[start : start + size]
        place = following
