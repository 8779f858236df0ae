"""The CLIP memory: what CLIP's image tower, before any training, makes of every training identity (TF-CLIP, AAAI 2024).

A tracklet is cut into clips of all its frames. Projections of the class token are averaged over the frames of a clip,
over its clips, and over the tracklets of an identity, each of which counts once. Camera embeddings, which have learnt
nothing yet, are left out.

It is kept in the cache, in parts of some tracklets, so that a stopped run goes on. The folder's name is a fingerprint
of the tower's parameters, of how frames are read, and of the tracklets.
"""

import copy
import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.sharding import Mesh

from jaxreid import config, sharding
from jaxreid.data import source
from jaxreid.data.stores import frame_store
from jaxreid.data.tracklets import tracklet
from jaxreid.evaluation import fingerprint, network
from jaxreid.models import build
from jaxreid.process import array_file, atomic, cache, metrics_log
from jaxreid.training import checkpoint, step

PART = 256  # tracklets of a file [choice]


@dataclasses.dataclass(frozen=True)
class _Part:
    """The rows of a store from one on."""

    store: frame_store.Store
    first: int

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        return self.store.frame_shape

    @property
    def skipped(self) -> int:
        return self.store.skipped

    def read(self, row: int, frames: np.ndarray) -> np.ndarray:
        return self.store.read(self.first + row, frames)

    def read_flow(self, row: int, frames: np.ndarray) -> np.ndarray:
        return self.store.read_flow(self.first + row, frames)


def wanted(experiment: config.Experiment) -> bool:
    """Whether the network is taught by a memory."""
    return experiment.system == 'tfclip' and experiment.tfclip.memory


def first_variables(
    untrained: Callable[[], tuple[dict, str]], experiment: config.Experiment, dataset: tracklet.Dataset, mesh: Mesh
) -> tuple[dict, str]:
    """What `untrained` gives, the variables before training and where they are from, with the memory in its place."""
    variables, said = untrained()
    if wanted(experiment):
        centres = jnp.asarray(of(variables, experiment, dataset, mesh))
        variables = variables | {'batch_stats': variables['batch_stats'] | {'memory': centres}}
    return variables, said


def of(variables: dict, experiment: config.Experiment, dataset: tracklet.Dataset, mesh: Mesh) -> np.ndarray:
    """The memory [num_ids, P] float32 of the training identities, in the order of their labels.

    Parts that are in the cache are read; what is missing is computed, and kept where one process trains.
    """
    alone, own = plain(experiment), {'visual': variables['params']['visual']}
    place = folder(own, alone, dataset)
    files = [place / f'{first:06d}.npy' for first in range(0, len(dataset.train), PART)]
    # Processes of one run compute together, and need not see the same cache.
    kept = jax.process_count() == 1
    missing = [i for i, file in enumerate(files) if not (kept and file.is_file())]
    if missing:
        metrics_log.say(f'the CLIP memory of {len(dataset.train)} tracklets is made first, once: {place}')
        trained = _network(variables, alone, dataset, mesh)
        store = source.store(alone.data, dataset, split='train')
    features: list[np.ndarray] = []
    for i, file in enumerate(files):
        rows = dataset.train[i * PART : (i + 1) * PART]
        if i not in missing:
            features.append(array_file.checked(file))
            continue
        everything = np.ones(len(rows), bool)
        one = dataclasses.replace(dataset, test=rows, query=everything, gallery=everything, mixed_in=())
        label = f'CLIP memory, {i + 1} of {len(files)}'
        made = trained.features(one, store=_Part(store, i * PART), label=label).embedding_before_neck
        features.append(made[:, -experiment.vit.projection :])
        if kept:
            atomic.write(file, array_file.with_digest(features[-1]))
    return centres(np.concatenate(features), dataset)


def centres(features: np.ndarray, dataset: tracklet.Dataset) -> np.ndarray:
    """Means [num_ids, P] of the features [N, P] of the training tracklets of each identity."""
    labels = tracklet.label_map(dataset.train)
    rows = np.asarray([labels[one.pid] for one in dataset.train])
    sums = np.zeros((len(labels), features.shape[1]), np.float64)
    np.add.at(sums, rows, features)
    return (sums / np.bincount(rows)[:, None]).astype(np.float32)


def folder(own: dict[str, Any], experiment: config.Experiment, dataset: tracklet.Dataset) -> pathlib.Path:
    """Where the memory lies of the parameters `own`, under the settings, of these tracklets."""
    data = experiment.data
    how = [
        source.describe(data),
        data.height,
        data.width,
        data.resize,
        experiment.test.frames,
        str(step.test_dtype(experiment)),
    ]
    rows = [[one.name, one.pid, len(one.frames), *one.frames[:1]] for one in dataset.train]
    settings = json.dumps([fingerprint.of(own), how, dataclasses.asdict(experiment.vit), rows])
    return cache.folder() / f'clip_memory-{hashlib.sha256(settings.encode()).hexdigest()[:10]}'


def plain(experiment: config.Experiment) -> config.Experiment:
    """Settings of the tower alone, on all frames of a tracklet."""
    e = copy.deepcopy(experiment)
    e.tfclip = config.Tfclip(memory=False, ssp=False, tmd=False, cameras=0)
    e.test.clips, e.test.frames, e.test.flip = 'all_frames', e.sampler.frames, False
    return e


def network_of(experiment: config.Experiment, dataset: tracklet.Dataset) -> nn.Module:
    """The network of an experiment, whose classifier knows the training identities of a data set."""
    num_ids = len(tracklet.label_map(dataset.train))
    return build.build(experiment, num_ids=num_ids, dtype=step.compute_dtype(experiment.train.compute_dtype))


def _network(variables, plain, dataset, mesh):
    model = network_of(plain, dataset)
    own = jax.eval_shape(lambda: step.init_variables(model, plain, jax.random.key(0)))
    taken = {kind: {name: variables[kind][name] for name in own[kind]} for kind in own}
    meta: checkpoint.Meta = {'config': config.to_dict(plain), 'labels': {}}
    return network.Network(plain, model, sharding.copy_to_all(taken, mesh), meta, 0, mesh)
