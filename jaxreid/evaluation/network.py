"""A network is one thing: a model with its parameters, how it was trained, and features of clips and data sets."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.sharding import Mesh

from jaxreid import config, sharding
from jaxreid.data import source
from jaxreid.data.batches import eval_pipeline
from jaxreid.data.stores import frame_store
from jaxreid.data.tracklets import tracklet
from jaxreid.evaluation import feature_file, fingerprint, frame_weights
from jaxreid.evaluation import features as features_lib
from jaxreid.models import bn_folding, build
from jaxreid.process import metrics_log
from jaxreid.training import checkpoint
from jaxreid.training import step as step_lib


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A network that turns clips into features."""

    experiment: config.Experiment  # the settings under which it is used; `test` says how clips become features
    model: nn.Module  # the Flax module, from `models.build`
    variables: dict  # {'params', 'batch_stats'} on the devices of `mesh`
    meta: checkpoint.Meta  # how it was trained
    step: int  # of training
    mesh: Mesh  # the devices that it runs on
    path: pathlib.Path | None = None  # of its checkpoint; None for a network that no checkpoint holds

    @classmethod
    def load(
        cls, path: str | pathlib.Path, *, experiment: config.Experiment | None = None, mesh: Mesh | None = None
    ) -> 'Network':
        """The network of a checkpoint.

        Args:
          path: a workdir, a folder of checkpoints, one checkpoint, a folder of `weights.publish`, or hf:OWNER/NAME.
          experiment: settings to use it under, of the same network; None: those that it was trained with.
          mesh: devices; None: one of this process.

        Raises:
          checkpoint.CheckpointError: no checkpoint is there, it is damaged, or of another network than `experiment`.
          config.ConfigError: it was written with settings that are not known any more.
        """
        folder, at = checkpoint.find(pathlib.Path(path))
        meta = checkpoint.read_meta(folder, at)
        if experiment is None:
            experiment = config.from_dict(meta['config'])
        else:
            checkpoint.check_same_model(meta, experiment, checkpoint.place(folder, at))
        mesh = mesh or sharding.make_mesh(jax.local_devices()[:1])
        model = build.build(experiment, num_ids=len(meta['labels']), dtype=step_lib.test_dtype(experiment))
        abstract = jax.eval_shape(lambda: step_lib.init_variables(model, experiment, jax.random.key(0)))
        placed = checkpoint.abstract_like(dict(abstract), jax.sharding.NamedSharding(mesh, sharding.COPIED))
        variables = checkpoint.restore(folder, at, placed)
        return cls(experiment, model, variables, meta, at, mesh, checkpoint.place(folder, at))

    @functools.cached_property
    def folded(self) -> dict:
        """The variables with BatchNorm folded into convolutions, for evaluation."""
        return jax.jit(bn_folding.fold)(self.variables)

    @functools.cached_property
    def fingerprint(self) -> str:
        """A name for the parameters; features of two networks must not be compared."""
        return fingerprint.of(self.variables)

    def embed(self, clips: np.ndarray, flow: np.ndarray | None = None, *, neck: str = 'after') -> np.ndarray:
        """Features of clips, as `--mode extract` makes them of each; a tracklet's is the mean over its clips.

        Args:
          clips: [B, T, H, W, 3] uint8, RGB frames in order of time, resized to the network's height and width.
          flow: [B, T, H, W, 2] float, optical flow from each frame to the next in pixels of these frames; for networks
            that see motion, and for no others.
          neck: 'after' or 'before' the neck.

        Returns:
          [B, D] float32, not normalised.

        Raises:
          ValueError: inputs of other shapes or dtypes, or features that are not finite.
        """
        self._check_clips(clips, flow)
        name = {'after': 'embedding', 'before': 'embedding_before_neck'}[neck]
        inputs = {'clips': clips} if flow is None else {'clips': clips, 'flow': np.asarray(flow, np.float32)}
        # A power of two, so that calls of about as many clips share a compiled program.
        most = -(-self.experiment.test.batch_clips // self.mesh.size) * self.mesh.size
        size = min(most, -(-(1 << (len(clips) - 1).bit_length()) // self.mesh.size) * self.mesh.size)

        def run(dtype: jnp.dtype) -> dict[str, np.ndarray]:
            eval_step, parts = self._eval_step(dtype), []
            for start in range(0, len(clips), size):
                batch = {k: v[start : start + size] for k, v in inputs.items()}
                real = len(batch['clips'])
                padded = {k: np.pad(v, ((0, size - real),) + ((0, 0),) * (v.ndim - 1)) for k, v in batch.items()}
                outputs = eval_step(self.folded, sharding.shard_batch(padded, self.mesh))
                parts.append(np.asarray(outputs[name], np.float32)[:real])
            return {'embedding': np.concatenate(parts)}

        outputs, dtype = self._in_test_dtype(run, 'embed')
        _check_finite(outputs['embedding'], f'clips are NaN or infinite at step {self.step} in {dtype}')
        return outputs['embedding']

    def features(
        self,
        dataset: tracklet.Dataset,
        *,
        clips: str = '',
        label: str = 'extract',
        one_frame: bool = False,
        store: frame_store.Store | None = None,
    ) -> feature_file.Features:
        """Features of the test split of a data set, whose frames `experiment.data` says how to read.

        `clips` '': as `test.clips`. `one_frame` replaces the frames of a clip by its first. `store`: of the test split,
        where that is not to be opened anew.

        Raises:
          ValueError: a feature is not finite, in bfloat16 neither where float16 was not asked for by name.
        """
        clips, test = clips or self.experiment.test.clips, self.experiment.test
        sharding.check_divides(test.batch_clips, self.mesh)
        store = store or source.store(self.experiment.data, dataset, split='test')
        total = eval_pipeline.count(
            dataset.test, clips=clips, frames=test.frames, batch_clips=test.batch_clips, multiple_of=self.mesh.size
        )
        replaced = 0

        def run(dtype: jnp.dtype) -> dict[str, np.ndarray]:
            nonlocal replaced
            eval_step = self._eval_step(dtype, one_frame=one_frame, chunk=test.frames if clips == 'whole' else 0)
            with self.batches(dataset, store, clips=clips) as batches:
                outputs = features_lib.over_clips(
                    eval_step, self.folded, batches, len(dataset.test), mesh=self.mesh, total=total, label=label
                )
                replaced = batches.skipped
            return outputs

        items, dtype = self._in_test_dtype(run, label)
        after, before = items.pop('embedding'), items.pop('embedding_before_neck')
        _check_finite(after, f'tracklets are NaN or infinite at step {self.step} in {dtype}')
        weights = items.pop('frame_weights', None)
        meta: feature_file.Meta = {
            **self.making(clips=clips, one_frame=one_frame),
            'compute_dtype': str(dtype),
            'frames_seen': eval_pipeline.frames_seen(
                dataset.test, clips=clips, frames=test.frames, seed=test.seed, one_frame=one_frame
            ),
            'corrupt_frames_replaced': replaced,
            'used_items': {name: features_lib.used_items(of.sum(0)) for name, of in items.items()},
        }
        if weights is not None:
            hidden = frame_weights.hidden_frames(dataset, clips=clips, frames=test.frames, seed=test.seed)
            meta['frame_weights'] = frame_weights.of(weights, hidden)
            if memory := self.variables['params'].get('spatial_memory'):
                meta['frame_weights']['memory_scale'] = float(np.abs(np.asarray(memory['norm']['scale'])).mean())
        return features_lib.describe(dataset, after, before, meta)

    def making(self, *, clips: str = '', one_frame: bool = False) -> feature_file.Meta:
        """What is known of features before they are made; arguments as `features`."""
        data, test = self.experiment.data, self.experiment.test
        clips = clips or test.clips
        return {
            'dataset': data.dataset,
            'split': 'test',
            'trained_on': source.describe(config.from_dict(self.meta['config']).data),
            'tested_on': source.describe(dataclasses.replace(data, also=())),
            'clips': clips,
            'clip_seed': test.seed if clips == 'random' else None,
            'frames_per_clip': test.frames,
            'one_frame': one_frame,
            'flip': test.flip,
            'flow': data.flow,
            'step': self.step,
            'network': self.fingerprint,
            'config': config.to_dict(self.experiment),
        }

    def _eval_step(self, dtype: jnp.dtype, **how) -> Callable:
        return step_lib.make_eval_step(self.model.clone(dtype=dtype), self.mesh, flip=self.experiment.test.flip, **how)

    def batches(self, dataset: tracklet.Dataset, store: frame_store.Store, *, clips: str):
        """Clips of the test split, as many batches on every process; closes like a file."""
        return eval_pipeline.batches(dataset.test, store, self.experiment, clips=clips, mesh=self.mesh)

    def _in_test_dtype(
        self, run: Callable[[jnp.dtype], dict[str, np.ndarray]], label: str
    ) -> tuple[dict[str, np.ndarray], jnp.dtype]:
        """What `run` gives in the dtype of evaluation, and that dtype: bfloat16 where 'auto' float16 is too small."""
        dtype = step_lib.test_dtype(self.experiment)
        outputs = run(dtype)
        automatic = self.experiment.test.compute_dtype == 'auto'
        if dtype == jnp.float16 and automatic and not np.isfinite(outputs['embedding']).all():
            metrics_log.say(f'{label}: this network has numbers above 65,504, where float16 ends; again in bfloat16')
            dtype = jnp.dtype('bfloat16')
            outputs = run(dtype)
        return outputs, dtype

    def _check_clips(self, clips: np.ndarray, flow: np.ndarray | None) -> None:
        size = self.experiment.data.height, self.experiment.data.width
        if clips.ndim != 5 or clips.shape[2:] != (*size, 3) or clips.dtype != np.uint8 or not clips.size:
            raise ValueError(
                f'clips are {clips.dtype} {list(clips.shape)}, expected uint8 [B, T, {size[0]}, {size[1]}, 3]: RGB '
                'frames, resized'
            )
        with_flow = self.experiment.data.flow != 'off'
        if with_flow != (flow is not None):
            raise ValueError(f'this network {"sees" if with_flow else "does not see"} motion: flow is for such only')
        if flow is not None and flow.shape != (*clips.shape[:4], 2):
            raise ValueError(f'flow is {list(flow.shape)}, expected {[*clips.shape[:4], 2]}, as the clips are')


def _check_finite(embedding: np.ndarray, what: str) -> None:
    if bad := int((~np.isfinite(embedding).all(axis=1)).sum()):
        raise ValueError(
            f'features of {bad} of {len(embedding)} {what}. A network whose training diverged gives these: use an '
            'earlier checkpoint. float16 does beyond 65,504: use --config.test.compute_dtype=auto.'
        )
