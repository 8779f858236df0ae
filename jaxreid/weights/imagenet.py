"""Starts a network from torchvision's ResNet-50 trained on ImageNet, inflated where the network is 3-D.

Weights come from a local .pth or .safetensors file, or from the Hugging Face hub by the name of the repository. Every
name and shape has to fit; parameters that a 2-D ResNet does not have (temporal convolutions, STRF units, non-local
blocks, head) keep their own start.
"""

import pathlib
import pickle
import re
from collections.abc import Mapping
from typing import Any

import huggingface_hub
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from flax import traverse_util

from jaxreid import cache, config
from jaxreid.weights import torch_names

CACHE_FILES = ('resnet50.safetensors', 'resnet50.pth')
HUB_FILES = ('model.safetensors', 'pytorch_model.bin')
HUB_NAME = re.compile(r'[\w.-]+/[\w.-]+')
IGNORED = re.compile(r'fc\.(weight|bias)|.*\.num_batches_tracked')


class WeightsError(ValueError):
    """Weights cannot be found, read, or fitted to the model; the message says what to do."""


def cache_folder() -> pathlib.Path:
    """Where weights are looked for by default: weights/ in the cache."""
    return cache.folder() / 'weights'


def _how_to() -> str:
    return (
        f"Put torchvision's ResNet-50 weights (resnet50-*.pth, renamed) at {cache_folder() / CACHE_FILES[1]}, or a "
        f'.safetensors of the same names at {cache_folder() / CACHE_FILES[0]}; or name a file or a Hugging Face '
        'repository with --config.backbone.weights=... (for example timm/resnet50.tv_in1k); or train from a random '
        'start, which has to be asked for, with --config.backbone.init=random.'
    )


def find(weights: str) -> pathlib.Path:
    """The file that `backbone.weights` stands for: a file, a repository on the hub, or '' for the cache.

    Raises:
      WeightsError: there is no such file, or the hub gave none.
    """
    if not weights:
        for name in CACHE_FILES:
            if (cache_folder() / name).is_file():
                return cache_folder() / name
        raise WeightsError(
            f'No ImageNet weights: looked for {" and ".join(CACHE_FILES)} in {cache_folder()}. {_how_to()}'
        )
    path = pathlib.Path(weights).expanduser()
    if path.is_file():
        return path
    if path.suffix in ('.pth', '.pt', '.bin', '.safetensors') or not HUB_NAME.fullmatch(weights):
        raise WeightsError(f'backbone.weights = {weights!r}: there is no such file. {_how_to()}')
    return _download(weights)


def _download(repository: str) -> pathlib.Path:
    problems = []
    for name in HUB_FILES:
        try:
            return pathlib.Path(huggingface_hub.hf_hub_download(repository, name))
        # Whatever keeps the hub from answering (no network, no such repository, no permission) has one remedy.
        except Exception as error:
            problems.append(f'{name}: {str(error).strip().splitlines()[0] if str(error).strip() else repr(error)}')
    raise WeightsError(
        f'backbone.weights = {repository!r} is no local file, and the Hugging Face hub gave none of its weights '
        f'({"; ".join(problems)}). {_how_to()}'
    )


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Tensors of a .safetensors file or a PyTorch checkpoint by name; 'state_dict' and 'module.' wrappers are removed.

    Raises:
      WeightsError: the file is damaged or holds something else, or PyTorch is needed and missing.
    """
    if path.suffix == '.safetensors':
        try:
            tensors: Mapping[str, Any] = safetensors.numpy.load_file(path)
        except Exception as error:  # the library's own error type is not public
            raise WeightsError(f'{path} is not a readable .safetensors file ({error}); fetch it again.') from error
    else:
        tensors = _read_torch(path)
    return {name.removeprefix('module.'): np.asarray(value) for name, value in tensors.items()}


def _read_torch(path):
    try:
        import torch  # an extra: only needed for PyTorch's own files
    except ImportError as error:
        raise WeightsError(
            f"Reading {path} needs PyTorch: install it with pip install 'jaxreid[torch]', or convert the file to "
            '.safetensors.'
        ) from error
    try:
        loaded = torch.load(path, map_location='cpu', weights_only=True)  # never runs code from the file
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise WeightsError(
            f'{path} is not a readable PyTorch checkpoint of plain tensors ({str(error).splitlines()[0]}); fetch it '
            'again, or save its state_dict.'
        ) from error
    for wrapper in ('state_dict', 'model'):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping):
        raise WeightsError(f'{path} holds a {type(loaded).__name__}, expected a dictionary of tensors by name.')
    return {name: value.float().numpy() for name, value in loaded.items() if isinstance(value, torch.Tensor)}


def _like(value: np.ndarray, target) -> np.ndarray | None:
    """`value` in our axis order, inflated where the target is 3-D; None where the shapes do not fit."""
    if value.ndim == 4:
        value = value.transpose(2, 3, 1, 0)  # [Co, Ci, H, W] -> [H, W, Ci, Co]
    if value.ndim == 4 and target.ndim == 5 and value.shape == target.shape[1:]:
        inflated = np.zeros(target.shape, value.dtype)
        inflated[target.shape[0] // 2] = value  # the other times start at zero, so the function is that of the 2-D net
        value = inflated
    return value if value.shape == target.shape else None


def fit(variables: Any, tensors: Mapping[str, np.ndarray], *, depths: tuple[int, ...], source: str) -> Any:
    """Puts torchvision ResNet tensors into the variables of a ResNet baseline.

    Args:
      variables: {'params': ..., 'batch_stats': ...}.
      tensors: by PyTorch name; the classifier and batch counters are ignored.
      depths: bottlenecks per stage.
      source: names the tensors in messages.

    Returns:
      New variables of the same structure, shapes and dtypes.

    Raises:
      WeightsError: lists every name that is missing or too many and every shape that does not fit.
    """
    names = torch_names.resnet(depths)
    flat = traverse_util.flatten_dict(variables)
    problems = [f'{name}: not in the model' for name in tensors if name not in names and not IGNORED.fullmatch(name)]
    for name, path in names.items():
        if name not in tensors:
            problems.append(f'{name}: not in the file')
            continue
        value = _like(tensors[name], flat[path])
        if value is None:
            problems.append(f'{name}: shape {tensors[name].shape} does not fit {"/".join(path)} {flat[path].shape}')
        else:
            flat[path] = jnp.asarray(value, flat[path].dtype)
    if problems:
        listed = '\n  '.join(problems)
        raise WeightsError(
            f'{source} does not fit a ResNet with {depths} bottlenecks per stage:\n  {listed}\nUse weights of the same '
            'network, or a random start with --config.backbone.init=random.'
        )
    return traverse_util.unflatten_dict(flat)


def initialise(variables: Any, backbone: config.Backbone) -> Any:
    """Gives freshly initialised variables the start that `backbone.init` asks for.

    Args:
      variables: {'params': ..., 'batch_stats': ...} of a ResNet baseline.
      backbone: `init`, `weights` and `depths` are read.

    Returns:
      The variables themselves for 'random'; new ones for 'imagenet'.

    Raises:
      WeightsError: see `find`, `read` and `fit`.
    """
    match backbone.init:
        case 'random':
            return variables
        case 'imagenet':
            path = find(backbone.weights)
            return fit(variables, read(path), depths=tuple(backbone.depths), source=str(path))
    raise WeightsError(f'backbone.init = {backbone.init!r}; choose imagenet or random.')
