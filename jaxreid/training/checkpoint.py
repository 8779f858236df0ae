"""Checkpoints on Orbax: the whole state, and beside it what is needed to understand it (config, labels, versions).

`<workdir>/checkpoints/<step>/` keeps the newest two, `<workdir>/best/<step>/` the one with the highest monitored mAP.
Saving is asynchronous; a checkpoint appears under its number only when it is complete.
"""

import contextlib
import errno
import os
import pathlib
import shlex
import shutil
from collections.abc import Collection
from typing import Any, NotRequired, TypedDict

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import traverse_util

from jaxreid import config
from jaxreid.models import output
from jaxreid.process import digest
from jaxreid.training import patient_loops, published

EXPORTED = 'model.json'  # what a folder written by `jaxreid.export` holds
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OF_DISKS = (*_FULL, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG,
             errno.EMFILE, errno.ENFILE, errno.ESTALE)  # fmt: skip


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
    arrays: digest of every array of the state, by its name; with it a digest of all this. Older checkpoints lack both.
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
    arrays: NotRequired[dict[str, str]]


class CheckpointError(ValueError):
    """A checkpoint cannot be written, found, or fitted to the model."""


class Checkpoints:
    """One folder of checkpoints."""

    def __init__(self, directory: pathlib.Path, *, keep: int):
        """Opens (and creates) the folder; `keep` newest checkpoints stay."""
        self.directory = directory
        patient_loops.use()
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(
                directory.absolute(),
                options=ocp.CheckpointManagerOptions(
                    max_to_keep=keep,
                    enable_async_checkpointing=True,
                    cleanup_tmp_directories=True,  # of saves that were killed
                ),
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
        arrays = {name: digest.of_array(np.asarray(leaf)) for name, leaf in _leaves(state).items()}
        signed = digest.signed({**meta, 'arrays': arrays})
        self._check_there()
        with self._explained():
            self._manager.save(
                step, args=ocp.args.Composite(state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(signed))
            )

    def wait(self) -> None:
        """Returns when what was started is on disk; raises where it could not be written."""
        with self._explained():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits and lets go of the folder."""
        with self._explained():
            self._manager.close()

    def _check_there(self) -> None:
        if not self.directory.is_dir():  # Orbax would make it again, and the run go on without its logs
            raise CheckpointError(
                f'{self.directory} was removed while the run was at work, and what it held is lost; start the run again'
            )

    @contextlib.contextmanager
    def _explained(self):
        try:
            yield
        except (OSError, ValueError, RuntimeError) as e:
            self._check_there()
            if not (isinstance(e, OSError) or _says(e, _OF_DISKS)):  # of devices, or of another process
                raise
            try:
                kept = self.latest()
            except (OSError, ValueError):
                kept = None
            safe = 'no complete checkpoint exists' if kept is None else f'the last complete checkpoint is step {kept}'
            free, remedy = '', 'Run'
            if _says(e, _FULL):
                free = f' ({shutil.disk_usage(self.directory).free / 2**20:.0f} MiB free there)'
                remedy = 'Make space (or raise the file size limit) and run'
            raise CheckpointError(
                f'cannot write a checkpoint to {self.directory}{free}: {_first_line(e)}; {safe}. '
                f'{remedy} the same command again to continue.'
            ) from e


class Best:
    """The checkpoint of the highest mAP that was monitored, and its score."""

    def __init__(self, directory: pathlib.Path):
        """Opens (and creates) the folder; what an earlier part of the run left there counts."""
        self.checkpoints = Checkpoints(directory, keep=1)
        at = self.checkpoints.latest()
        self.score: Monitored | None = None if at is None else read_meta(directory, at, 'score')['score']

    def offer(self, score: Monitored, state: Any, meta: Meta) -> None:
        """Saves the state where its score is the best so far; it is on disk when this returns."""
        if self.score is None or score['mAP'] > self.score['mAP']:
            self.score = score
            self.checkpoints.save(score['step'], state, {**meta, 'score': score, 'selected': 'on the test set'})
            self.checkpoints.wait()


def _says(e: BaseException, numbers: Collection[int]) -> bool:
    """Whether an error is one of the system's, which libraries in C++ have as text alone."""
    return any(os.strerror(number) in str(e) for number in numbers)


def _first_line(e: BaseException) -> str:
    text = (str(e).strip().splitlines() or [''])[0][:300]
    return text if text and isinstance(e, OSError | ValueError) else f'{type(e).__name__} {text}'.strip()


def find(path: pathlib.Path) -> tuple[pathlib.Path, int]:
    """Finds a checkpoint, as (folder of checkpoints, step): `path` may be a workdir, a folder of checkpoints, one
    checkpoint, or a folder of `weights.publish`, which is the only checkpoint in itself; hf:OWNER/NAME is fetched.

    Raises:
      CheckpointError: nothing complete is there; says what was looked for.
    """
    try:
        path = published.local(path)
        if published.is_one(path) and not (path / 'checkpoints').is_dir():  # unless somebody trained in that folder
            return path, published.read(path)['step']
    except ValueError as e:
        raise CheckpointError(str(e)) from e
    if (path / EXPORTED).is_file():
        raise CheckpointError(
            f'{path} was written by jaxreid.export and holds a program instead of parameters; run it with '
            'jaxreid.export.load.load, or name the checkpoint that it was made of'
        )
    if _is_one(path):
        return path.parent, int(path.name)
    for folder in (path / 'checkpoints', path):
        if steps := [int(p.name) for p in folder.glob('*') if _is_one(p)]:
            return folder, max(steps)
    raise CheckpointError(
        f'no checkpoint under {path}: expected a workdir with checkpoints/<step>/, a folder of <step>/ folders, '
        'or one <step>/ folder, written by jaxreid'
    )


def place(folder: pathlib.Path, step: int) -> pathlib.Path:
    """Where a checkpoint lies that `find` found."""
    return folder if published.is_one(folder) else folder / str(step)


def _is_one(path: pathlib.Path) -> bool:
    """Whether a folder is a checkpoint, be it damaged: Orbax gives it its number when it is complete."""
    return path.name.isdigit() and any((path / part).exists() for part in ('state', 'meta', '_CHECKPOINT_METADATA'))


def read_meta(folder: pathlib.Path, step: int, *more: str) -> Meta:
    """What was saved beside the state.

    Args:
      folder, step: from `find`.
      more: keys that it must have beside `config` and `labels`.

    Raises:
      CheckpointError: the checkpoint is damaged.
    """
    try:
        return _read_meta(folder, step, *more)
    except Exception as e:  # what Orbax raises on damaged files is of all kinds
        raise _damaged(folder, step, e) from e


def _read_meta(folder: pathlib.Path, step: int, *more: str) -> Meta:
    meta: Any
    if published.is_one(folder):
        meta = published.read(folder)['checkpoint']
    else:
        with _reader(folder) as manager:
            meta = manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))['meta']
    if wrong := digest.problem(meta):
        raise ValueError(wrong)
    for key in ('config', 'labels', *more):
        if not (isinstance(meta, dict) and isinstance(meta.get(key), dict)):
            raise ValueError(f'its meta has no {key}')
    return meta


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
    wanted = _leaves(abstract)
    saved = _read_sound(folder, step, {name.split('/')[0] for name in wanted})
    problems = [f'{k}: missing in the checkpoint' for k in sorted(wanted.keys() - saved.keys())]
    problems += [f'{k}: in the checkpoint, not in the model' for k in sorted(saved.keys() - wanted.keys())]
    problems += [
        f'{k}: shape {saved[k].shape} in the checkpoint, {wanted[k].shape} in the model'
        for k in sorted(wanted.keys() & saved.keys())
        if saved[k].shape != wanted[k].shape
    ]
    if problems:
        listed = '\n  '.join(problems[:8]) + (f'\n  ... and {len(problems) - 8} more' if len(problems) > 8 else '')
        raise CheckpointError(
            f'checkpoint {folder / str(step)} belongs to another model:\n  {listed}\n'
            'Use the config it was trained with, or another --workdir.'
        )

    def placed(path: Any, like: jax.ShapeDtypeStruct) -> jax.Array:
        values = saved[_name(path)].astype(like.dtype)
        return jax.make_array_from_callback(like.shape, like.sharding, lambda index: values[index])

    return jax.tree_util.tree_map_with_path(placed, abstract)


def read_arrays(folder: pathlib.Path, step: int) -> output.Variables:
    """Whatever network a checkpoint holds: {'params': ..., 'batch_stats': ...} of NumPy arrays."""
    arrays = _read_sound(folder, step, {'params', 'batch_stats'})
    return traverse_util.unflatten_dict({tuple(name.split('/')): array for name, array in arrays.items()})


def _read_sound(folder: pathlib.Path, step: int, branches: Collection[str]) -> dict[str, np.ndarray]:
    try:
        return _read(folder, step, branches)
    except Exception as e:  # what Orbax raises on damaged files is of all kinds
        raise _damaged(folder, step, e) from e


def _read(folder: pathlib.Path, step: int, branches: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of some branches of the state, or all, by name, as they were saved: their digests are compared."""
    digests = _read_meta(folder, step).get('arrays')
    if published.is_one(folder):
        return {k: v for k, v in published.arrays(folder).items() if branches is None or k.split('/')[0] in branches}
    with _reader(folder) as manager:
        there = {
            branch: jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)
            for branch, tree in dict(manager.item_metadata(step)['state']).items()
            if branches is None or branch in branches
        }
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), there)
        how = ocp.args.PyTreeRestore(item=there, restore_args=as_numpy, partial_restore=True)
        state = manager.restore(step, args=ocp.args.Composite(state=how))['state']
    arrays = {name: np.asarray(leaf) for name, leaf in _leaves(state).items()}
    if not arrays:
        raise ValueError('its list of arrays is missing')
    for name, written in ({} if digests is None else digests).items():
        if branches is not None and name.split('/')[0] not in branches:
            continue
        if name not in arrays:
            raise ValueError(f'{name} is missing')
        if digest.of_array(arrays[name]) != written:
            raise ValueError(f'{name} is not what was written: its digest is another')
    return arrays


def _damaged(folder: pathlib.Path, step: int, error: BaseException) -> CheckpointError:
    at = place(folder, step)
    if at == folder:
        return CheckpointError(f'{folder} is damaged: {_first_line(error)}')
    if not at.exists():
        return CheckpointError(f'checkpoint {at} was removed while it was read, as a run does that goes on; try again')
    for older in sorted((int(p.name) for p in folder.glob('*') if _is_one(p) and int(p.name) < step), reverse=True):
        with contextlib.suppress(Exception):
            _read(folder, older)
            away = shlex.join(['mv', str(at), str(folder.parent / f'damaged-{step}')])
            remedy = f'move it away to continue from step {older}, which is sound: {away}'
            break
    else:
        remedy = 'no older one is beside it that is sound: start again with another --workdir'
    return CheckpointError(f'checkpoint {at} is damaged ({_first_line(error)}); {remedy}')


def _reader(folder: pathlib.Path) -> ocp.CheckpointManager:
    patient_loops.use()
    return ocp.CheckpointManager(
        folder.absolute(),
        options=ocp.CheckpointManagerOptions(read_only=True),
        item_handlers={'state': ocp.PyTreeCheckpointHandler(), 'meta': ocp.JsonCheckpointHandler()},
    )


def _leaves(tree: Any) -> dict[str, Any]:
    """The arrays of a tree by name, whether it is of our types or of the dicts and lists that Orbax makes of them."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {_name(path): leaf for path, leaf in leaves if hasattr(leaf, 'shape')}


def _name(path: Any) -> str:
    return '/'.join(str(getattr(k, 'key', getattr(k, 'name', getattr(k, 'idx', k)))) for k in path)


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
