"""Checkpoints on Orbax: the whole state, and beside it what is needed to understand it (config, labels, versions).

`<workdir>/checkpoints/<step>/` keeps the newest two, `<workdir>/best/<step>/` the one with the highest monitored mAP.
Saving is asynchronous; a checkpoint appears under its number only when it is complete.
"""

import contextlib
import pathlib
import shutil
from typing import Any, NotRequired, TypedDict

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxreid import config
from jaxreid.models import output

EXPORTED = 'model.json'  # what a folder written by `jaxreid.export` holds


class Monitored(TypedDict):
    """The evaluation during training that a checkpoint in `best` was kept for; percent."""

    mAP: float
    rank1: float
    step: int
    clips: str


class Meta(TypedDict):
    """What lies beside a checkpoint's state, as JSON.

    config: all settings, as `config.to_dict` gives them.
    labels: raw id as text -> number of its class, of all training ids.
    pid_names: raw id as text -> what a manifest calls it; older checkpoints lack it.
    score, selected: of checkpoints in `best` only.
    imported: source and file of `weights.import_torch`, whose checkpoints lack steps_per_epoch and versions.
    """

    config: dict
    labels: dict[str, int]
    pid_names: NotRequired[dict[str, str]]
    steps_per_epoch: NotRequired[int]
    versions: NotRequired[dict[str, str]]
    score: NotRequired[Monitored]
    selected: NotRequired[str]
    imported: NotRequired[dict[str, str]]


class CheckpointError(ValueError):
    """A checkpoint cannot be written, found, or fitted to the model."""


class Checkpoints:
    """One folder of checkpoints."""

    def __init__(self, directory: pathlib.Path, *, keep: int):
        """Opens (and creates) the folder; `keep` newest checkpoints stay."""
        self.directory = directory
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(
                directory.absolute(),
                options=ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=True),
            )
        except OSError as e:
            raise CheckpointError(
                f'cannot create the checkpoint folder {directory}: {e}; choose a writable --workdir'
            ) from e

    def latest(self) -> int | None:
        """Step of the newest complete checkpoint."""
        return self._manager.latest_step()

    def save(self, step: int, state: Any, meta: Meta) -> None:
        """Starts writing a checkpoint; returns when the state is copied. A step already saved is left as it is."""
        if step in self._manager.all_steps():
            return
        with self._explained():
            self._manager.save(
                step, args=ocp.args.Composite(state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta))
            )

    def wait(self) -> None:
        """Returns when what was started is on disk; raises where it could not be written."""
        with self._explained():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits and lets go of the folder."""
        with self._explained():
            self._manager.close()

    @contextlib.contextmanager
    def _explained(self):
        try:
            yield
        except (OSError, ValueError, RuntimeError) as e:
            free = shutil.disk_usage(self.directory).free / 2**20
            try:
                kept = self.latest()
            except (OSError, ValueError):
                kept = None
            safe = 'no complete checkpoint exists' if kept is None else f'the last complete checkpoint is step {kept}'
            raise CheckpointError(
                f'cannot write a checkpoint to {self.directory} ({free:.0f} MiB free there): {_first_line(e)}; {safe}. '
                'Make space (or raise the file size limit) and run the same command again to continue.'
            ) from e


class Best:
    """The checkpoint of the highest mAP that was monitored, and its score."""

    def __init__(self, directory: pathlib.Path):
        """Opens (and creates) the folder; what an earlier part of the run left there counts."""
        self.checkpoints = Checkpoints(directory, keep=1)
        at = self.checkpoints.latest()
        self.score: Monitored | None = None if at is None else read_meta(directory, at)['score']

    def offer(self, score: Monitored, state: Any, meta: Meta) -> None:
        """Saves the state where its score is the best so far."""
        if self.score is None or score['mAP'] > self.score['mAP']:
            self.score = score
            self.checkpoints.save(score['step'], state, {**meta, 'score': score, 'selected': 'on the test set'})


def _first_line(e: BaseException) -> str:
    text = str(e).strip().splitlines()
    return text[0][:300] if text else type(e).__name__


def find(path: pathlib.Path) -> tuple[pathlib.Path, int]:
    """Finds a checkpoint: `path` may be a workdir, a folder of checkpoints, or one checkpoint.

    Returns:
      (folder of checkpoints, step).

    Raises:
      CheckpointError: nothing complete is there; says what was looked for.
    """
    if (path / EXPORTED).is_file():
        raise CheckpointError(
            f'{path} was written by jaxreid.export and holds a program instead of parameters; run it with '
            'jaxreid.export.load.load, or name the checkpoint that it was made of'
        )
    if path.name.isdigit() and (path / 'state').is_dir():
        return path.parent, int(path.name)
    for folder in (path / 'checkpoints', path):
        steps = [int(p.name) for p in folder.glob('*') if p.name.isdigit() and (p / 'state').is_dir()]
        if steps:
            return folder, max(steps)
    raise CheckpointError(
        f'no checkpoint under {path}: expected a workdir with checkpoints/<step>/, a folder of <step>/ folders, '
        'or one <step>/ folder, written by jaxreid'
    )


def read_meta(folder: pathlib.Path, step: int) -> Meta:
    """What was saved beside the state: config, labels, steps per epoch, versions."""
    with _reader(folder) as manager:
        try:
            return manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))['meta']
        except (OSError, ValueError, KeyError) as e:
            raise _damaged(folder, step, e) from e


def restore(folder: pathlib.Path, step: int, abstract: Any) -> Any:
    """Reads a state onto the devices that `abstract` names, however many wrote it.

    Args:
      folder: from `find`.
      step: from `find`.
      abstract: tree of jax.ShapeDtypeStruct with shardings; entries of the checkpoint outside it are left out only
        where a whole branch of the tree is missing (evaluation restores params and batch_stats alone).

    Raises:
      CheckpointError: another model, with what differs; or damaged.
    """
    with _reader(folder) as manager:
        try:
            saved = _shapes(manager.item_metadata(step)['state'])
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise _damaged(folder, step, e) from e
        if not saved:
            raise _damaged(folder, step, ValueError('its list of arrays is missing'))
        wanted = _shapes(abstract)
        branches = {name.split('/')[0] for name in wanted}
        saved = {k: v for k, v in saved.items() if k.split('/')[0] in branches}
        problems = [f'{k}: missing in the checkpoint' for k in sorted(wanted.keys() - saved.keys())]
        problems += [f'{k}: in the checkpoint, not in the model' for k in sorted(saved.keys() - wanted.keys())]
        problems += [
            f'{k}: shape {saved[k]} in the checkpoint, {wanted[k]} in the model'
            for k in sorted(wanted.keys() & saved.keys())
            if saved[k] != wanted[k]
        ]
        if problems:
            listed = '\n  '.join(problems[:8]) + (f'\n  ... and {len(problems) - 8} more' if len(problems) > 8 else '')
            raise CheckpointError(
                f'checkpoint {folder / str(step)} belongs to another model:\n  {listed}\n'
                'Use the config it was trained with, or another --workdir.'
            )
        restore_args = ocp.args.PyTreeRestore(
            item=abstract,
            restore_args=jax.tree.map(
                lambda x: ocp.ArrayRestoreArgs(dtype=x.dtype, sharding=x.sharding, global_shape=x.shape), abstract
            ),
            partial_restore=True,
        )
        try:
            return manager.restore(step, args=ocp.args.Composite(state=restore_args))['state']
        except (OSError, ValueError, KeyError) as e:
            raise _damaged(folder, step, e) from e


def read_arrays(folder: pathlib.Path, step: int) -> output.Variables:
    """Whatever network a checkpoint holds: {'params': ..., 'batch_stats': ...} of NumPy arrays."""
    with _reader(folder) as manager:
        try:
            saved = manager.item_metadata(step)['state']
            abstract = {
                branch: jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), saved[branch])
                for branch in ('params', 'batch_stats')
            }
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise _damaged(folder, step, e) from e
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.device_get(restore(folder, step, abstract_like(abstract, here)))


def _damaged(folder: pathlib.Path, step: int, error: BaseException) -> CheckpointError:
    older = sorted(int(p.name) for p in folder.glob('*') if p.name.isdigit() and int(p.name) < step)
    remedy = f'move it away to continue from step {older[-1]}' if older else 'no older one is beside it'
    return CheckpointError(f'checkpoint {folder / str(step)} is damaged ({_first_line(error)}); {remedy}')


def _reader(folder: pathlib.Path) -> ocp.CheckpointManager:
    return ocp.CheckpointManager(
        folder.absolute(),
        options=ocp.CheckpointManagerOptions(read_only=True),
        item_handlers={'state': ocp.PyTreeCheckpointHandler(), 'meta': ocp.JsonCheckpointHandler()},
    )


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        '/'.join(str(getattr(k, 'key', getattr(k, 'name', getattr(k, 'idx', k)))) for k in path): tuple(leaf.shape)
        for path, leaf in leaves
        if hasattr(leaf, 'shape')
    }


def check_same_run(saved: Meta, experiment: config.Experiment, directory: pathlib.Path) -> None:
    """Refuses to continue a run under settings that change how it trains, its length aside."""
    if changed := config.changed_amid_run(config.from_dict(saved['config']), experiment):
        raise CheckpointError(
            f'{directory} holds a run with other settings:\n  ' + '\n  '.join(changed.values()) + '\n'
            'Continue it with its own settings, or start a new run with another --workdir.'
        )


def check_same_model(saved: Meta, experiment: config.Experiment, path: pathlib.Path) -> None:
    """Refuses to run a checkpoint's parameters through another network than they were trained in.

    Shapes alone do not tell: P3D-A, B and C have the same.
    """
    if changed := config.changed(config.from_dict(saved['config']), experiment, 'network'):
        raise CheckpointError(
            f'checkpoint {path} belongs to another model:\n  ' + '\n  '.join(changed.values()) + '\n'
            'Use the config it was trained with.'
        )


def abstract_like(tree: Any, sharding: jax.sharding.Sharding) -> Any:
    """Shapes and dtypes of a tree, placed by `sharding`."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype, sharding=sharding), tree)
