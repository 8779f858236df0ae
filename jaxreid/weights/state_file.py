"""Reads the tensors of a .safetensors file or of a PyTorch checkpoint, without ever running code from the file."""

import pathlib
import re
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.numpy

from jaxreid.process import array_file

WRAPPERS = ('state_dict', 'model_state_dict', 'model')  # keys under which checkpoints nest their tensors
# What DataParallel and torch.compile put before names, of a whole network or of its trunk.
PREFIXES = re.compile(r'(?:module\.|_orig_mod\.)*(backbone\.)?(?:module\.|_orig_mod\.)*')
TRUNK = 'backbone.'  # of the trunk's names where a network keeps it in a part of that name

TORCHSCRIPT = (
    "{path} is a TorchScript archive, such as OpenAI's of CLIP: a program beside its tensors, which is not run. If "
    'you trust it, write its tensors alone, in Python: safetensors.torch.save_file({{k: v.contiguous() for k, v in '
    "torch.jit.load('{path}', 'cpu').state_dict().items() if v.ndim}}, 'clip.safetensors')"
)


class WeightsError(ValueError):
    """Weights cannot be found, read, or fitted to the model; the message says what to do."""


def refuse(problems: list[str], found: str) -> None:
    """Raises WeightsError with what was `found` and every one of the problems; does nothing without any."""
    if problems:
        listed = '\n  '.join(problems)
        raise WeightsError(
            f'{found}:\n  {listed}\nUse weights of the same network, or a random start with '
            '--config.backbone.init=random.'
        )


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Tensors by name, all float32, without WRAPPERS and PREFIXES, and without TRUNK where the trunk has no other name.

    Raises:
      WeightsError: there is no such file, it is damaged or holds something else, or PyTorch is needed and missing.
    """
    if not path.is_file():
        raise WeightsError(f'{path}: there is no such file; name a .safetensors file or a PyTorch checkpoint.')
    if path.suffix == '.safetensors':
        try:
            tensors: Mapping[str, Any] = safetensors.numpy.load_file(path)
        except Exception as error:  # the library's own error type is not public
            raise WeightsError(f'{path} is not a readable .safetensors file ({error}); fetch it again.') from error
    else:
        tensors = _read_torch(path)
    bare = {PREFIXES.sub(r'\1', name, count=1): x for name, x in tensors.items()}  # fits the beginning of every name
    if f'{TRUNK}conv1.weight' in bare and not any(name.removeprefix(TRUNK) in bare for name in bare if TRUNK in name):
        bare = {name.removeprefix(TRUNK): x for name, x in bare.items()}
    if len(bare) < len(tensors):
        raise WeightsError(f'{path}: two of its names are one without module. and _orig_mod.; save one network only.')
    return {name: np.asarray(x).astype(np.float32) for name, x in bare.items()}


def _read_torch(path):
    try:
        import torch  # an extra: only needed for PyTorch's own files
    except ImportError as error:
        raise WeightsError(
            f"Reading {path} needs PyTorch: install it with pip install 'jaxreid[torch]', or convert the file to "
            '.safetensors.'
        ) from error
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                array_file.check_expansion(path, archive)
                if any(name.endswith('/constants.pkl') for name in archive.namelist()):
                    raise WeightsError(TORCHSCRIPT.format(path=path))
        with torch.serialization.safe_globals(_numpy_scalars()):
            loaded = torch.load(path, map_location='cpu', weights_only=True)  # never runs code from the file
    except WeightsError:
        raise
    except Exception as error:  # PyTorch's reader raises many kinds
        raise WeightsError(
            f'{path} is not a readable PyTorch checkpoint of plain tensors ({array_file.said_by(error)}); fetch it '
            'again, or save its state_dict.'
        ) from error
    for _ in WRAPPERS:  # one in another, in any order
        inner = (loaded[name] for name in WRAPPERS if isinstance(loaded, Mapping) and name in loaded)
        loaded = next((one for one in inner if isinstance(one, Mapping)), loaded)
    if not isinstance(loaded, Mapping):
        raise WeightsError(f'{path} holds a {type(loaded).__name__}, expected a dictionary of tensors by name.')
    tensors = {str(name): value.detach() for name, value in loaded.items() if isinstance(value, torch.Tensor)}
    for name, value in tensors.items():
        if value.layout != torch.strided or value.is_quantized or value.is_complex() or value.device.type != 'cpu':
            raise WeightsError(f'{path}: {name} is no plain tensor of numbers but {value.layout}, {value.dtype}.')
        # An expanded tensor repeats a few bytes as often as it says.
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise WeightsError(f'{path}: {name} claims shape {tuple(value.shape)}, of which the file has a part only.')
    if sum(value.numel() for value in tensors.values()) > 2 * path.stat().st_size:
        raise WeightsError(f'{path}: its tensors share memory and would be larger than the file; save copies of them.')
    return {name: value.float().numpy() for name, value in tensors.items()}


def _numpy_scalars() -> list[Any]:
    """What a NumPy number beside the tensors needs to be read: AP3D saves its rank-1 accuracy as one."""
    scalar = np.float64(0).__reduce__()[0]
    # NumPy 1 and 2 save the same function under two names.
    names = ['numpy.core.multiarray.scalar', 'numpy._core.multiarray.scalar']
    kinds = [type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int32, np.int64)]
    return [(scalar, name) for name in names] + [np.dtype, *kinds]
