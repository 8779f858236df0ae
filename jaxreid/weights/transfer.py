"""Starts a network from one that was trained before: everything that has its name and shape is taken.

What has no namesake starts as it would on ImageNet weights: STMN's query heads as the last stage, STAR's flow stem as
the stem, 3-D kernels as their 2-D ones in the middle, temporal kernels and units afresh. Classifiers of other people
start anew.
"""

import contextlib
import pathlib
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxreid import config
from jaxreid.training import checkpoint
from jaxreid.weights import state_file, torch_names

# Modules that start as copies of another where they have nothing of their own.
ORIGINS = {'layer4_spatial': 'layer4', 'layer4_temporal': 'layer4', 'flow_stem': 'stem'}
SHOWN = 12  # modules that a report names

Arrays = Mapping[torch_names.Path, np.ndarray]


def fitted(
    value: np.ndarray | None, origin: torch_names.Path, path: torch_names.Path, target: Any
) -> np.ndarray | None:
    """The array `value` of `origin` for `target` at `path`, inflated where that is 3-D; None where it does not fit."""
    if value is not None and origin[1] == 'stem' and path[1:3] == ('flow_stem', 'conv1'):
        value = np.repeat(value.mean(2, keepdims=True), target.shape[2], axis=2)  # flow sees the mean over colours
    if value is None or value.shape == target.shape:
        return value
    if value.ndim == 4 and target.ndim == 5 and value.shape == target.shape[1:]:
        inflated = np.zeros(target.shape, value.dtype)
        inflated[target.shape[0] // 2] = value  # the other times start at zero, so the function is that of the 2-D net
        return inflated
    return None


def origins(path: torch_names.Path) -> list[torch_names.Path]:
    """Where the start of an array is looked for: under its own name, then under that of the module it copies."""
    origin = ORIGINS.get(path[1])
    return [path] if origin is None else [path, (path[0], origin, *path[2:])]


def read(source: pathlib.Path, experiment: config.Experiment) -> tuple[Arrays, str]:
    """The arrays, by their names here, of whatever `checkpoint.find` finds, or of a .safetensors or .pth file with the
    names of torchvision, of AP3D's, STMN's or SINet's code, or of `jaxreid.weights.export_torch`. What a name in a
    file stands for depends on the network that starts.

    The text says what `experiment` sets otherwise than the network of a checkpoint: parts that fit may work otherwise.
    It is empty where nothing is, and of a file, which does not say.

    Raises:
      state_file.WeightsError: there is nothing of that kind.
      checkpoint.CheckpointError: the checkpoint is damaged.
    """
    if source.is_file():
        return _from_torch(state_file.read(source), experiment), ''
    try:
        folder, at = checkpoint.find(source)
    except checkpoint.CheckpointError as error:
        raise state_file.WeightsError(f'backbone.weights = {str(source)!r}: {error}') from error
    said, meta = '', checkpoint.read_meta(folder, at)
    with contextlib.suppress(config.ConfigError):  # of settings that are not known any more the arrays may do
        if changed := config.changed(config.from_dict(meta['config']), experiment, 'network'):
            said = '; it is another network:\n  ' + '\n  '.join(changed.values())
    return traverse_util.flatten_dict(checkpoint.read_arrays(folder, at)), said


def _from_torch(tensors, experiment):
    plain = config.from_dict(config.to_dict(experiment))
    plain.backbone.block, plain.strf.stages = 'c2d', ()
    # First the 2-D network of AP3D's code: its middle convolutions have the names of I3D's, and other shapes.
    known = [
        torch_names.baseline(plain), torch_names.published(experiment), torch_names.resnet(experiment.backbone.depths)
    ]  # fmt: skip
    arrays = {}
    for name, tensor in torch_names.without_biases(tensors).items():
        for names in known:
            if name in names and (value := torch_names.to_ours(tensor, names[name])) is not None:
                arrays[names[name].path] = value
                break
    return arrays


def start(variables: Any, arrays: Arrays, *, source: str) -> tuple[Any, str]:
    """Puts what fits into freshly initialised variables.

    Returns:
      New variables of the same structure, shapes and dtypes, and a sentence that says what was taken and what starts
      anew.

    Raises:
      state_file.WeightsError: nothing fits.
    """
    flat = traverse_util.flatten_dict(variables)
    anew = []
    for path, target in flat.items():
        values = (fitted(arrays.get(origin), origin, path, target) for origin in origins(path))
        value = next((v for v in values if v is not None), None)
        if value is None:
            anew.append(path)
        else:
            flat[path] = jnp.asarray(value, target.dtype)
    if len(anew) == len(flat):
        examples = '; '.join('/'.join(path) for path in list(arrays)[:3]) or 'nothing'
        raise state_file.WeightsError(
            f'{source} has no array that fits this network by name and shape (it holds {examples}); start from another '
            'network, or with --config.backbone.init=random'
        )
    modules = list(dict.fromkeys('/'.join(path[1:-1]) for path in anew))
    more = f' and {len(modules) - SHOWN} more' if len(modules) > SHOWN else ''
    fresh = f'; anew: {", ".join(modules[:SHOWN])}{more}' if modules else ''
    said = f'{len(flat) - len(anew)} of {len(flat)} arrays from {source}{fresh}'
    return traverse_util.unflatten_dict(flat), said
