"""Computed flow kept on disk between runs, one .npy per frame: TV-L1 takes longer than the network that looks at it."""

import io
import pathlib

import numpy as np

from jaxreid.process import array_file, digest, paths, whole

_DIGITS = 8  # of the digest behind the array


def path(folder: str, first: str, second: str, *, height: int, width: int, engine: str) -> pathlib.Path:
    """Where the flow from one frame to another lies; both are paths below the data set's root, '/' between folders.

    Each engine has files of its own.
    """
    name = f'{first}--{second.rpartition("/")[2]}.npy'
    return pathlib.Path(folder, f'{kind(engine)}-{height}x{width}', name)


def kind(engine: str) -> str:
    """What stored flow is called by what computed it, 'opencv' or 'jax': the two are not equal to the bit."""
    return {'opencv': 'tvl1', 'jax': 'tvl1_jax'}[engine]


def read(file: pathlib.Path, *, height: int, width: int) -> np.ndarray | None:
    """The stored flow [H, W, 2] float16; None where there is none or the file is damaged, so that it is made again."""
    try:
        data = paths.content(file)
        sound = digest.of_bytes(data[:-_DIGITS]).encode() == data[-_DIGITS:]
        # Older files end with the array, and so have another length where they have a digest that is another.
        flow = np.load(io.BytesIO(data[:-_DIGITS])) if sound else array_file.npy(file)
    except (OSError, ValueError):
        return None
    return flow if flow.shape == (height, width, 2) and flow.dtype == np.float16 else None


def write(file: pathlib.Path, flow: np.ndarray) -> None:
    """Stores a flow whole, and behind it, where NumPy does not look, its digest."""
    data = io.BytesIO()
    np.save(data, flow)
    whole.write(file, data.getvalue() + digest.of_bytes(data.getvalue()).encode())
