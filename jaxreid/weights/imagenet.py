"""Starts a network from torchvision's ResNet-50 trained on ImageNet, inflated where the network is 3-D.

Weights come from a local .pth or .safetensors file, or from the Hugging Face hub by the name of the repository. Every
name and shape has to fit; parameters that a 2-D ResNet does not have (temporal convolutions, STRF units, non-local
blocks, head) keep their own start.
"""

import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxreid import config
from jaxreid.process import cache
from jaxreid.training import hub
from jaxreid.weights import state_file, torch_names, transfer

CACHE_FILES = ('resnet50.safetensors', 'resnet50.pth')
HUB_FILES = ('model.safetensors', 'pytorch_model.bin')
HUB_NAME = re.compile(r'(?:hf:)?[\w.-]+/[\w.-]+')
IGNORED = re.compile(r'fc\.(weight|bias)|.*\.num_batches_tracked')


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
    """The file of ImageNet weights that `backbone.weights` stands for, see `located`."""
    return located(weights, CACHE_FILES, kind='ImageNet', how_to=_how_to())


def located(weights: str, cached: Sequence[str], *, kind: str, how_to: str) -> pathlib.Path:
    """The file that `backbone.weights` stands for: a file, a repository on the hub, or '' for one of the cache.

    Raises:
      state_file.WeightsError: there is no such file, or the hub gave none; ends with `how_to`.
    """
    if not weights:
        for name in cached:
            if (cache_folder() / name).is_file():
                return cache_folder() / name
        raise state_file.WeightsError(
            f'No {kind} weights: looked for {" and ".join(cached)} in {cache_folder()}. {how_to}'
        )
    path = pathlib.Path(weights).expanduser()
    if path.is_file():
        return path
    if path.suffix in ('.pth', '.pt', '.bin', '.safetensors') or not HUB_NAME.fullmatch(weights):
        raise state_file.WeightsError(f'backbone.weights = {weights!r}: there is no such file. {how_to}')
    return _download(weights.removeprefix('hf:'), how_to)


def _download(repository: str, how_to: str) -> pathlib.Path:
    problems = []
    for name in HUB_FILES:
        try:
            return pathlib.Path(hub.library().hf_hub_download(repository, name))
        # Whatever keeps the hub from answering (no network, no such repository, no permission) has one remedy.
        except Exception as error:
            problems.append(f'{name}: {str(error).strip().splitlines()[0] if str(error).strip() else repr(error)}')
    raise state_file.WeightsError(
        f'backbone.weights = {repository!r} is no local file, and the Hugging Face hub gave none of its weights '
        f'({"; ".join(problems)}). {how_to}'
    )


def fit(variables: Any, tensors: Mapping[str, np.ndarray], *, depths: tuple[int, ...], source: str) -> Any:
    """Puts torchvision ResNet tensors into the variables of a system; copies of a module all start alike.

    Returns:
      New variables of the same structure, shapes and dtypes.

    Raises:
      state_file.WeightsError: lists every name that is missing or too many and every shape that does not fit.
    """
    names = torch_names.resnet(depths)
    flat = traverse_util.flatten_dict(variables)
    problems = [f'{name}: not in the model' for name in tensors if name not in names and not IGNORED.fullmatch(name)]
    for name, entry in names.items():
        if name not in tensors:
            problems.append(f'{name}: not in the file')
            continue
        value = torch_names.to_ours(tensors[name], entry)
        for path in [path for path in flat if entry.path in transfer.origins(path)]:
            fitted = transfer.fitted(value, entry.path, path, flat[path])
            if fitted is None:
                problems.append(f'{name}: shape {tensors[name].shape} does not fit {"/".join(path)} {flat[path].shape}')
            else:
                flat[path] = jnp.asarray(fitted, flat[path].dtype)
    state_file.refuse(problems, f'{source} does not fit a ResNet with {depths} bottlenecks per stage')
    return traverse_util.unflatten_dict(flat)


def initialise(variables: Any, backbone: config.Backbone) -> Any:
    """Freshly initialised variables of any system with the ResNet that `backbone.weights` and `depths` name.

    Raises:
      state_file.WeightsError: see `find`, `state_file.read` and `fit`.
    """
    path = find(backbone.weights)
    return fit(variables, state_file.read(path), depths=tuple(backbone.depths), source=str(path))
