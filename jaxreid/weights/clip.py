"""Starts a vision transformer from the image tower of CLIP (Radford et al., ICML 2021).

Weights come from a local file, or from the Hugging Face hub by the name of the repository, under the names of OpenAI
(whole CLIP, or its image tower alone) or of timm. Every name and shape has to fit but for the positions, which are
resized for frames of another size. CLIP's text tower is left out.
"""

import math
import pathlib
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxreid import config
from jaxreid.layers.transformer import blocks
from jaxreid.models import vit
from jaxreid.weights import imagenet, state_file, torch_names

CACHE_FILE = 'clip_vit_b16.safetensors'
IMAGE_TOWER = 'visual.'  # before its names in whole CLIP
POSITIONS = ('params', 'visual', 'positions')


def find(weights: str) -> pathlib.Path:
    """The file that `backbone.weights` stands for, see `imagenet.located`."""
    how_to = (
        f"Put CLIP's ViT-B/16 as .safetensors at {imagenet.cache_folder() / CACHE_FILE}; or name a file or a Hugging "
        'Face repository with --config.backbone.weights=... (timm/vit_base_patch16_clip_224.openai); or ask for a '
        'random start with --config.backbone.init=random.'
    )
    return imagenet.located(weights, [CACHE_FILE], kind='CLIP', how_to=how_to)


def fit(variables: Any, tensors: Mapping[str, np.ndarray], experiment: config.Experiment, *, source: str) -> Any:
    """Puts CLIP's tensors into the module `visual` of a system's variables.

    Returns:
      New variables of the same structure, shapes and dtypes.

    Raises:
      state_file.WeightsError: lists every name that is missing or too many and every shape that does not fit.
    """
    if any(name.startswith(IMAGE_TOWER) for name in tensors):
        tensors = {k.removeprefix(IMAGE_TOWER): v for k, v in tensors.items() if k.startswith(IMAGE_TOWER)}
    naming = 'timm' if 'cls_token' in tensors else 'openai'
    names = torch_names.vit(experiment.vit.depth, naming)
    flat = traverse_util.flatten_dict(variables)
    grid = vit.patch_grid((experiment.data.height, experiment.data.width), experiment.vit.patch)
    problems = [f'{name}: not in the model' for name in tensors if name not in names]
    for name, entry in names.items():
        if name not in tensors:
            problems.append(f'{name}: not in the file')
            continue
        value, target = torch_names.to_ours(tensors[name], entry), flat[entry.path]
        if entry.path == POSITIONS and value is not None:
            value = _positions(value, grid)
        if value is None or value.shape != target.shape:
            problems.append(f'{name}: shape {tensors[name].shape} does not fit {"/".join(entry.path)} {target.shape}')
        else:
            flat[entry.path] = jnp.asarray(value, target.dtype)
    state_file.refuse(problems, f'{source} does not fit a ViT of {experiment.vit.depth} blocks ({naming} names)')
    return traverse_util.unflatten_dict(flat)


def _positions(value, grid):
    """[1 + n^2, D] of square images for `grid`; as they are where they fit it, or are of no square."""
    if len(value) == 1 + grid[0] * grid[1] or (side := math.isqrt(len(value) - 1)) ** 2 + 1 != len(value):
        return value
    return np.asarray(blocks.resized_positions(jnp.asarray(value), (side, side), grid))


def initialise(variables: Any, experiment: config.Experiment) -> Any:
    """Freshly initialised variables with the image tower that `backbone.weights` names.

    Raises:
      state_file.WeightsError: see `find`, `state_file.read` and `fit`.
    """
    path = find(experiment.backbone.weights)
    return fit(variables, state_file.read(path), experiment, source=str(path))
