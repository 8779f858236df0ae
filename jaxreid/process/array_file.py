"""Arrays from .npy and .npz files: a header is compared with the bytes that there are before anything is allocated.

Nothing is unpickled.
"""

import io
import math
import os
import tokenize
import zipfile
import zlib
from collections.abc import Collection
from typing import IO, NamedTuple

import numpy as np

from jaxreid.process import digest, paths

# What NumPy and zipfile raise on files that are broken in one way or another.
_BROKEN = (
    ValueError, OSError, EOFError, KeyError, IndexError, TypeError, SyntaxError, RuntimeError, MemoryError,
    OverflowError, AttributeError, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
# What compressed bytes may become: more is no measurement but a few bytes that claim all memory [choice].
_EXPANSION, _ALWAYS = 32, 2**28
_DIGITS = 8  # of a digest


class Header(NamedTuple):
    """What a file says of an array."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def nbytes(self) -> int:
        """Of the array."""
        return self.dtype.itemsize * math.prod(self.shape)


def npz_headers(path: str | os.PathLike) -> dict[str, Header]:
    """Shape and dtype of every array of an .npz file, from the headers alone.

    Raises:
      ValueError: it is no such file, or says what cannot be; names it.
      OSError: it is not there, or no regular file.
    """
    paths.check_regular(path)
    headers: dict[str, Header] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            check_expansion(path, archive)
            for member in archive.infolist():
                with archive.open(member) as file:
                    header = _header(file)
                    name = member.filename.removesuffix('.npy')
                    if name in headers:
                        raise ValueError(f'it holds {name} twice, and which one is meant cannot be known')
                    held = member.file_size - file.tell()
                    if not header.dtype.hasobject and header.nbytes != held:
                        said = f'{header.dtype} {header.shape}, {header.nbytes} bytes'
                        raise ValueError(f'{name} says that it is {said}, but has {held}')
                    headers[name] = header
    except _BROKEN as e:
        raise ValueError(f'{path} is no readable .npz file ({said_by(e)}); write it with numpy.savez.') from e
    return headers


def npz(path: str | os.PathLike, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """Arrays of an .npz file by name: those of `names` that it has, or all. Errors as `npz_headers`."""
    wanted = [name for name in npz_headers(path) if names is None or name in names]
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in wanted}
    except _BROKEN as e:
        raise ValueError(f'{path} is damaged ({said_by(e)}); write it again.') from e


def npy(path: str | os.PathLike, *, mapped: bool = False) -> np.ndarray:
    """The array of an .npy file, `mapped` without being read.

    Raises:
      ValueError: the file is no such, or has another length than its header says; names it.
      OSError: it is not there, or no regular file.
    """
    paths.check_regular(path)
    try:
        with open(path, 'rb') as file:
            header = _header(file)
            held = os.fstat(file.fileno()).st_size - file.tell()
        if header.dtype.hasobject:
            raise ValueError('it holds Python objects, which are never loaded since they can run code')
        if header.nbytes != held:
            raise ValueError(f'it says {header.dtype} {header.shape}, {header.nbytes} bytes, but has {held}')
        return np.load(path, mmap_mode='r' if mapped and header.nbytes else None, allow_pickle=False)
    except _BROKEN as e:
        raise ValueError(f'{path} is no readable .npy file ({said_by(e)})') from e


def with_digest(array: np.ndarray) -> bytes:
    """An .npy file, and behind it, where NumPy does not look, its digest."""
    data = io.BytesIO()
    np.save(data, array)
    return data.getvalue() + digest.of_bytes(data.getvalue()).encode()


def checked(path: str | os.PathLike) -> np.ndarray:
    """The array of a file of `with_digest`, or of an .npy file, as older ones are. Errors as `npy`."""
    data = paths.content(path)
    if digest.of_bytes(data[:-_DIGITS]).encode() == data[-_DIGITS:]:
        return _parsed(path, data[:-_DIGITS])
    return npy(path)  # where the digest is another, the length is too


def _parsed(path: str | os.PathLike, data: bytes) -> np.ndarray:
    file = io.BytesIO(data)
    try:
        header = _header(file)
        if header.dtype.hasobject or header.nbytes != len(data) - file.tell():
            raise ValueError(f'it says {header.dtype} {header.shape}, but has {len(data) - file.tell()} bytes')
        return np.load(io.BytesIO(data), allow_pickle=False)
    except _BROKEN as e:
        raise ValueError(f'{path} is no readable .npy file ({said_by(e)})') from e


def check_expansion(path: str | os.PathLike, archive: zipfile.ZipFile) -> None:
    """Refuses an archive whose parts are together far larger than its file. Raises ValueError: names the file."""
    expanded = sum(member.file_size for member in archive.infolist())
    if expanded > _ALWAYS + _EXPANSION * os.path.getsize(path):
        raise ValueError(
            f'{os.path.getsize(path):,} bytes claim to be {expanded:,}; at most {_EXPANSION} times as many, and '
            f'{_ALWAYS >> 20} MiB, are believed'
        )


def said_by(error: BaseException) -> str:
    """The first line of an error."""
    return f'{error}'.splitlines()[0] if f'{error}' else type(error).__name__


def memory() -> int:
    """Bytes of this machine's memory; 64 GiB where it does not say."""
    try:
        return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    except (AttributeError, ValueError, OSError):
        return 64 * 2**30


def _header(file: IO[bytes]) -> Header:
    match np.lib.format.read_magic(file):
        case (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        case (2, 0):
            shape, _, dtype = np.lib.format.read_array_header_2_0(file)
        case version:
            raise ValueError(f'{getattr(file, "name", "it")} is in version {version} of the .npy format')
    if any(size < 0 for size in shape):
        raise ValueError(f'a shape of {shape}')
    return Header(shape, dtype)
