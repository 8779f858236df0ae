"""Computed flow kept on disk between runs, one .npy per frame: TV-L1 takes longer than the network that looks at it."""

import pathlib

import numpy as np

from jaxreid.process import array_file, atomic, paths


def path(folder: str, first: str, second: str, *, height: int, width: int, engine: str) -> pathlib.Path:
    """Where the flow from one frame to another lies; both are paths below the data set's root, '/' between folders.

    Each engine has files of its own.
    """
    name = f'{first}--{second.rpartition("/")[2]}.npy'
    return pathlib.Path(folder, f'{kind(engine)}-{height}x{width}', paths.relative(name, where='flow of a frame'))


def kind(engine: str) -> str:
    """What stored flow is called by what computed it, 'opencv' or 'jax': the two are not equal to the bit."""
    return {'opencv': 'tvl1', 'jax': 'tvl1_jax'}[engine]


def read(file: pathlib.Path, *, height: int, width: int) -> np.ndarray | None:
    """The stored flow [H, W, 2] float16; None where there is none or the file is damaged, so that it is made again."""
    try:
        flow = array_file.checked(file)
    except (OSError, ValueError):
        return None
    return flow if flow.shape == (height, width, 2) and flow.dtype == np.float16 else None


def write(file: pathlib.Path, flow: np.ndarray) -> None:
    """Stores a flow, whole and with its digest."""
    atomic.write(file, array_file.with_digest(flow))
