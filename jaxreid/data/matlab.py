"""Variables of MATLAB files, of the old format and of 7.3 (which is HDF5), with errors that name the file."""

import os

import h5py
import numpy as np
import scipy.io


def read(path: str | os.PathLike, key: str) -> np.ndarray:
    """Variable `key` as MATLAB shows it: a table of N rows is [N, columns] from either format.

    Raises:
      ValueError: not a MATLAB file, or without the variable.
    """
    found = read_all(path, (key,))
    if key not in found:
        raise ValueError(f'{os.fspath(path)} has no variable {key}; it is not the file of the download.')
    return found[key]


def read_all(path: str | os.PathLike, keys: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Those of the variables `keys` that the file has; see `read`."""
    path = os.fspath(path)
    try:
        if h5py.is_hdf5(path):
            with h5py.File(path, mode='r') as file:
                # MATLAB stores columns first, HDF5 shows them as rows.
                return {key: np.asarray(file[key][()]).T for key in keys if isinstance(file.get(key), h5py.Dataset)}
        content = scipy.io.loadmat(path, variable_names=keys)
    except Exception as error:  # both libraries raise many kinds for a damaged file
        raise ValueError(f'{path} cannot be read as a MATLAB file ({error}); download it again.') from error
    return {key: content[key] for key in keys if key in content}


def integers(array: np.ndarray, what: str) -> np.ndarray:
    """int64 copy; MATLAB stores whole numbers as doubles where nobody asked for integers.

    Raises:
      ValueError: not numbers, or not whole ones.
    """
    array = np.asarray(array)
    if array.dtype.kind not in 'iuf' or not np.isfinite(array).all() or not np.array_equal(array, np.floor(array)):
        raise ValueError(f'{what} holds {array.dtype} values that are not whole numbers.')
    return array.astype(np.int64)
