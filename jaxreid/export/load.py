"""Runs a network that `python -m jaxreid.export` wrote. Needs jax (which brings NumPy) and nothing of jaxreid.

  python load.py                                   in that folder: runs the sample and compares
  embed = load.load('folder'); embed(clips)        clips [B, T, H, W, 3] uint8 -> features [B, D] float32

Sizes, and what STAR's second input is, are in model.json. The feature of a tracklet is the mean over its clips.
"""

import json
import pathlib
import sys
import zlib
from collections.abc import Callable

try:
    import flatbuffers  # noqa: F401
except ImportError:  # jax.export reads its files with it, but jax does not install it: a copy lies beside this file
    sys.path.append(str(pathlib.Path(__file__).parent))

import jax
import numpy as np
from jax import export

MODEL, META, SAMPLE = 'model.stablehlo', 'model.json', 'sample.npz'


def digest(data: bytes) -> str:
    """CRC-32, which every flipped bit changes, as 8 hexadecimal digits."""
    return f'{zlib.crc32(data):08x}'


def read(folder: str | pathlib.Path) -> dict:
    """What model.json says, when it and the files that it names are seen to be what was written.

    Raises:
      ValueError: one of them is damaged.
      OSError: the folder lacks a file.
    """
    path = pathlib.Path(folder) / META
    try:
        meta = json.loads(path.read_bytes())
        written = meta.pop('crc32_of_the_rest', '')  # older exports have none, and no `files`
        if written and written != digest(json.dumps(meta, sort_keys=True).encode()):
            raise ValueError('its digest is another')
        files = meta.get('files', {}).items()
        if not isinstance(meta['inputs'], list):
            raise ValueError('inputs are no list')
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise ValueError(f'{path} is not what was written ({e!r}); export the network again') from e
    for name, written in files:
        if digest((path.parent / name).read_bytes()) != written:
            raise ValueError(f'{path.parent / name} is not what was written; export the network again')
    return meta


def load(folder: str | pathlib.Path) -> Callable[..., np.ndarray]:
    """A function of clips (and flow) that gives features, compiled for this machine's device when first called.

    Raises:
      ValueError: this machine's device is none that the network was exported for, or a file is damaged; or, when
        called, inputs of other shapes or dtypes.
      OSError: the folder lacks a file.
    """
    folder = pathlib.Path(folder)
    inputs = read(folder)['inputs']
    network = export.deserialize(bytearray((folder / MODEL).read_bytes()))
    here = jax.default_backend()
    known = {'gpu': {'cuda', 'rocm'}}.get(here, {here})
    if not known & set(network.platforms):
        raise ValueError(
            f'{folder} was exported for {", ".join(network.platforms)}, this machine runs {here}; export it again with '
            '--platforms, or set JAX_PLATFORMS=cpu'
        )
    run = jax.jit(network.call)

    def embed(*arrays: np.ndarray) -> np.ndarray:
        if len(arrays) != len(inputs):
            raise ValueError(f'got {len(arrays)} inputs, expected {", ".join(one["name"] for one in inputs)}')
        for one, array in zip(inputs, arrays):
            fits = len(array.shape) == len(one['shape']) and all(
                isinstance(wanted, str) or size == wanted for size, wanted in zip(array.shape, one['shape'])
            )
            if not fits or str(array.dtype) != one['dtype'] or len(array) != len(arrays[0]) or not len(array):
                raise ValueError(
                    f'{one["name"]} is {array.dtype} {list(array.shape)}, expected {one["dtype"]} {one["shape"]}: '
                    f'{one["meaning"]}'
                )
        return np.asarray(run(*arrays))

    return embed


def difference(folder: str | pathlib.Path) -> float:
    """Largest difference between the sample's features and those that the exporter got, over their largest value."""
    run = load(folder)
    with np.load(pathlib.Path(folder) / SAMPLE) as sample:
        inputs = [sample[name] for name in sample.files if name != 'embedding']
        wanted = sample['embedding']
    return float(np.abs(run(*inputs) - wanted).max() / np.abs(wanted).max())


def main(folder: pathlib.Path) -> int:
    """Prints the difference and returns the exit status."""
    try:
        largest, here = difference(folder), jax.default_backend()
    except (ValueError, OSError) as e:
        sys.exit(f'{e}')
    print(f'largest difference from the exporter, relative: {largest:.1e} (jax {jax.__version__} on {here})')
    dtype = json.loads((folder / META).read_text())['inside']['compute_dtype']
    # Accelerators multiply float32 in bfloat16 or TF32 unless told otherwise.
    return 0 if largest < (1e-5 if here == 'cpu' and dtype == 'float32' else 2e-2) else 1


if __name__ == '__main__':
    sys.exit(main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent))
