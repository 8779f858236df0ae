"""Writes the gradient of step 1 of the tiny benchmark to an .npz; run on any number of devices and processes.

python -m tests.integration.gradient_worker OUT DTYPE BN_GROUPS [COORDINATOR PROCESSES PROCESS]
"""

import sys

import jax
import numpy as np
from absl import flags

from configs import strf_synthetic
from jaxreid import sharding, step, train
from jaxreid.data import source, tracklet, train_pipeline
from jaxreid.models import build


def main(out, dtype, bn_groups, *cluster):
    """Builds what `train` builds, up to the first gradient."""
    flags.FLAGS(sys.argv[:1])
    if cluster:
        jax.distributed.initialize(cluster[0], int(cluster[1]), int(cluster[2]))
    jax.config.update('jax_enable_x64', dtype == 'float64')
    experiment = strf_synthetic.get_config('tiny')
    experiment.backbone.width = 8
    experiment.backbone.block = 'p3da'  # its temporal convolution is not zero at init, so the units have gradients
    experiment.sampler.num_ids, experiment.sampler.tracklets_per_id = 4, 4
    experiment.augment.erase = 0.5
    experiment.train.compute_dtype, experiment.train.bn_groups = dtype, int(bn_groups)
    mesh = sharding.make_mesh()
    dataset = source.read(experiment.data)
    labels = tracklet.label_map(dataset.train)
    store = source.store(experiment.data, dataset, split='train')
    batches = train_pipeline.batches(
        dataset.train, store, labels, experiment,
        start_step=0, process_index=jax.process_index(), process_count=jax.process_count(),
    )  # fmt: skip
    variables = train.first_variables(build.build(experiment, num_ids=len(labels), dtype=dtype), experiment)
    model = build.build(experiment, num_ids=len(labels), dtype=dtype, axis_name=sharding.AXIS)
    gradient = step.make_gradient(model, experiment, axis_name=sharding.AXIS)
    mapped = jax.jit(
        jax.shard_map(
            lambda p, s, b: gradient(p, s, jax.random.key(7), b),
            mesh=mesh,
            in_specs=(sharding.COPIED, sharding.COPIED, sharding.SPLIT),
            out_specs=sharding.COPIED,
        )
    )
    copied = sharding.copy_to_all(variables, mesh)
    gradients, statistics, metrics = mapped(
        copied['params'], copied['batch_stats'], sharding.shard_batch(next(batches), mesh)
    )
    leaves, _ = jax.tree_util.tree_flatten_with_path(
        {'gradient': gradients, 'statistics': statistics, 'metrics': metrics}
    )
    arrays = {jax.tree_util.keystr(path): np.asarray(leaf.addressable_shards[0].data) for path, leaf in leaves}
    if jax.process_index() == 0:
        np.savez(out, **arrays)


if __name__ == '__main__':
    main(*sys.argv[1:])
