"""A network as `weights.publish` writes it for others: a folder with arrays, settings and scores, and no optimizer."""

import hashlib
import pathlib
from typing import Any, TypedDict

import numpy as np
import safetensors.numpy

from jaxreid.process import atomic, digest, json_file, paths
from jaxreid.training import hub

META, ARRAYS = 'jaxreid.json', 'model.safetensors'


class OverSeeds(TypedDict):
    """A score of trainings that differ in their seed, percent: mean, and standard deviation of the sample (None: one).

    seeds and values have the same order.
    """

    seeds: list[int]
    values: list[float]
    mean: float
    std: float | None


class Scored(TypedDict):
    """A result of these arrays, as in results.json, and its 'mAP' and 'rank1' over all seeds."""

    result: dict[str, Any]
    over_seeds: dict[str, OverSeeds]


class Published(TypedDict):
    """What jaxreid.json says.

    name: for people. step: of training. checkpoint: what stood beside it, without paths and names of people. sha256: of
    ARRAYS. license: of the arrays, as the hub calls it. data_terms: of what it was trained on, in words. scores: of the
    last step. versions: of what published it.
    """

    name: str
    step: int
    checkpoint: dict[str, Any]
    sha256: str
    license: str
    data_terms: str
    scores: list[Scored]
    versions: dict[str, str]


def is_one(folder: pathlib.Path) -> bool:
    """Whether a folder holds a published network."""
    return (folder / META).is_file()


def local(path: pathlib.Path) -> pathlib.Path:
    """The folder that a name hf:OWNER/NAME stands for, fetched; any other path is left as it is.

    Raises:
      hub.HubError: see `hub.fetched`; or the repository holds no network of jaxreid.
    """
    if not (name := str(path)).startswith('hf:'):
        return path
    folder = hub.fetched(name, (META, ARRAYS))
    if not is_one(folder):
        raise hub.HubError(
            f'{name} has no {META}: it holds no network that jaxreid.weights.publish wrote. A ResNet-50 of ImageNet is '
            'named with backbone.init=imagenet'
        )
    return folder


def read(folder: pathlib.Path) -> Published:
    """What is said of a network. Raises ValueError, OSError: it is damaged."""
    return json_file.read(folder / META, Published, what='what jaxreid.weights.publish wrote', advice='fetch it again')


def arrays(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays by name, 'params/stem/conv1/kernel'. Raises ValueError, OSError: they are damaged, or others."""
    content = paths.content(folder / ARRAYS)
    if hashlib.sha256(content).hexdigest() != read(folder)['sha256']:
        raise ValueError(f'{folder / ARRAYS} is not what was published: its SHA-256 is another; fetch it again')
    return safetensors.numpy.load(content)


def write(folder: pathlib.Path, tensors: dict[str, np.ndarray], said: Published) -> None:
    """Writes both files; `sha256` is filled in."""
    content = safetensors.numpy.save(tensors)
    atomic.write(folder / ARRAYS, content)
    said = {**said, 'sha256': hashlib.sha256(content).hexdigest()}
    atomic.write_json(folder / META, digest.signed(said))
