"""A network to be used from Python: clips of any size in, features out, from a checkpoint or a folder made of one."""

import dataclasses
import functools
import itertools
import os
import pathlib
from collections.abc import Callable
from typing import Any, TypedDict

import numpy as np

from jaxreid import command_line, config
from jaxreid.api import clips as clips_lib
from jaxreid.data.batches import clip_sampling
from jaxreid.data.flow import optical_flow
from jaxreid.data.tracklets import frame_decode
from jaxreid.evaluation import network as network_lib
from jaxreid.export import load as exported
from jaxreid.process import json_file

Flow = np.ndarray | str | None
_FLOW = (
    'this network sees motion. Where the frames of every clip follow each other in the video, add flow={tvl1!r}, which '
    'computes it; otherwise give flow as [B, T, {height}, {width}, 2] float, (u, v) from each frame to the next, in '
    'pixels of frames of that size'
)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Embedder:
    """A network with how it wants its frames."""

    experiment: config.Experiment  # its settings
    frames: int | None  # T, that a clip must have; None: any number
    network: network_lib.Network | None  # with `features` of data sets and all else; None of an exported folder
    _run: Callable[..., np.ndarray]

    def __repr__(self) -> str:
        data, of = self.experiment.data, self.frames or 'any number of'
        motion = '' if data.flow == 'off' else ' and their motion'
        return f'{self.experiment.system}: clips of {of} frames{motion}, resized to {data.height}x{data.width}'

    def embed(self, clips: Any, *, flow: Flow = None, channels: str = 'rgb', neck: str = 'after') -> np.ndarray:
        """Features of clips, as `--mode extract` makes them of each. A tracklet's is the mean over its clips.

        Args:
          clips: uint8, RGB [B, T, H, W, 3] of any size; or a list of B clips, each an array [T, H, W, 3] or a list of
            arrays [H, W, 3] or of file names. They are resized as training frames were.
          flow: of networks that see motion: 'tvl1' computes it from each frame of a clip to the next; or [B, T, h, w,
            2] float, in pixels of the network's frames.
          channels: 'rgb', or 'bgr' for arrays that OpenCV read.
          neck: 'after' or 'before' the neck.

        Returns:
          [B, D] float32, not normalised.

        Raises:
          ValueError: clips that cannot be; says what was found and what to do. OSError: a file cannot be opened.
        """
        if neck not in (known := ('after', 'before')):
            raise ValueError(f'neck = {neck!r} is not known; expected one of {", ".join(known)}')
        listed = clips_lib.prepare(clips, channels=channels)
        motion = self._flow(listed, flow)
        made: list[np.ndarray | None] = [None] * len(listed)
        for rows in clips_lib.of_one_length(listed):
            self._check_length(len(listed[rows[0]]), rows[0])
            inputs = [np.stack([self._resized(listed[i]) for i in rows])]
            inputs += [] if motion is None else [np.stack([motion[i] for i in rows])]
            for i, feature in zip(rows, self._run(*inputs, neck=neck), strict=True):
                made[i] = feature
        return np.stack([feature for feature in made if feature is not None])

    def embed_tracklets(self, tracklets: Any, *, channels: str = 'rgb', neck: str = 'after') -> np.ndarray:
        """Features of tracklets: the mean over the clips that `test.clips` of the settings cuts each into.

        Args:
          tracklets: as `clips` of `embed`, all frames of a person in one camera each; motion is computed.
          channels, neck: as `embed`.

        Returns:
          [N, D] float32, as `--mode extract` gives them.

        Raises:
          ValueError, OSError: as `embed`; or this network looks at whole tracklets (test.clips=whole).
        """
        test = self.experiment.test
        if test.clips == 'whole':
            raise ValueError('this network is tested on whole tracklets (test.clips=whole): use --mode extract')
        means = []
        for row, frames in enumerate(clips_lib.prepare(tracklets, channels=channels)):
            cut = clip_sampling.test_clips(len(frames), kind=test.clips, frames=test.frames, seed=test.seed, row=row)
            motion = self._flow([frames], 'tvl1' if self._sees_motion else None)
            chosen = None if motion is None else np.stack([motion[0][positions] for positions in cut])
            of_clips = self.embed([[frames[i] for i in positions] for positions in cut], flow=chosen, neck=neck)
            means.append(of_clips.mean(axis=0))
        return np.stack(means)

    @property
    def _sees_motion(self) -> bool:
        return self.experiment.data.flow == 'tvl1'

    def _resized(self, frames: list[np.ndarray]) -> np.ndarray:
        data = self.experiment.data
        return clips_lib.resize(frames, height=data.height, width=data.width, filter=data.resize)

    def _check_length(self, length: int, clip: int) -> None:
        if self.frames not in (None, length):
            raise ValueError(f'clip {clip} has {length} frames; this network takes exactly {self.frames}')

    def _flow(self, clips: list[list[np.ndarray]], flow: Flow) -> list[np.ndarray] | None:
        """[T, h, w, 2] float32 of each clip; None for networks that do not look at it."""
        data = self.experiment.data
        size = {'height': data.height, 'width': data.width}
        if data.flow == 'off':
            if flow is not None:
                raise ValueError('this network does not see motion; leave out flow')
            return None
        if data.flow == 'zeros' and flow is None:
            return [np.zeros((len(clip), data.height, data.width, 2), np.float32) for clip in clips]
        if isinstance(flow, str) and flow == 'tvl1':
            return [_computed(clip, engine=data.flow_engine, **size) for clip in clips]
        if flow is None or isinstance(flow, str):
            raise ValueError(_FLOW.format(tvl1='tvl1', **size))
        if len(flow) != len(clips):
            raise ValueError(f'flow is of {len(flow)} clips, expected {len(clips)}')
        motion = [np.asarray(one, np.float32) for one in flow]
        for i, (one, clip) in enumerate(zip(motion, clips, strict=True)):
            if one.shape != (expected := (len(clip), data.height, data.width, 2)):
                raise ValueError(f'flow of clip {i} is {list(one.shape)}, expected {list(expected)}')
            if not np.isfinite(one).all():
                raise ValueError(f'flow of clip {i} is not finite')
        return motion


def _computed(frames: list[np.ndarray], *, engine: str, height: int, width: int) -> np.ndarray:
    """Flow from each frame to the next, the last one's that of the one before; a lone frame has none."""
    if len(frames) == 1:
        return np.zeros((1, height, width, 2), np.float32)
    if engine == 'jax':  # as `optical_flow.decoder`
        frames = [frame_decode.resized(frame, height=height, width=width, resize='bilinear') for frame in frames]
    pairs = list(itertools.pairwise(frames))
    flows = optical_flow.between(pairs, engine=engine, height=height, width=width)
    return np.stack([*flows, flows[-1]]).astype(np.float32)


def load(path: str | os.PathLike, *, settings: config.Experiment | None = None) -> Embedder:
    """A network that was trained or exported.

    Args:
      path: a workdir, a folder of checkpoints, one checkpoint, a folder of `jaxreid export` or `jaxreid publish`, or
        hf:OWNER/NAME or hf:OWNER/NAME@REVISION for one that lies on the Hugging Face hub.
      settings: to use it under, of the same network; None: those that it was trained with.

    Raises:
      checkpoint.CheckpointError: no checkpoint is there, or it is damaged, or of another network.
      ValueError: an exported folder that does not run here.
    """
    path = pathlib.Path(path).expanduser()
    command_line.set_up('float32')
    if (path / exported.META).is_file():
        return _load_exported(path)
    network = network_lib.Network.load(path, experiment=settings)
    experiment = network.experiment
    frames = experiment.sampler.frames if config.has_fixed_length(experiment) else None
    return Embedder(experiment, frames, network, network.embed)


class _Input(TypedDict):
    shape: list[Any]  # sizes, or a letter where any will do
    dtype: str


class _Inside(TypedDict):
    neck: str


class _Exported(TypedDict):
    """Of what stands beside an exported network, what running it needs."""

    format: str
    inputs: list[_Input]
    config: dict[str, Any]
    inside: _Inside


def _load_exported(path: pathlib.Path) -> Embedder:
    meta = json_file.read(path / exported.META, _Exported, what='what jaxreid.export wrote', advice='export again')
    if meta['format'] != 'stablehlo':
        raise ValueError(f'{path} holds {meta["format"]}, which is for other programs (docs/export.md)')
    if not meta['inputs'] or len(meta['inputs'][0]['shape']) != 5:
        raise ValueError(f'{path / exported.META} says nothing of the clips [B, T, H, W, 3] that go in; export again')
    shape, dtype = meta['inputs'][0]['shape'], meta['inputs'][0]['dtype']
    try:
        experiment = config.from_dict(meta['config'])
    except config.ConfigError as e:
        raise ValueError(f'{path / exported.META} holds settings of no network: {e}') from e
    return Embedder(
        experiment,
        shape[1],
        None,
        functools.partial(_run_exported, exported.load(path), meta['inside']['neck'], shape[0], dtype),
    )


def _run_exported(
    program: Callable, held: str, batch: int | str, dtype: str, clips: np.ndarray, *flow: np.ndarray, neck: str
) -> np.ndarray:
    """Features of an exported program, which may take a fixed number of clips."""
    if neck != held:
        raise ValueError(f'this folder was exported with features {held} the neck; export it again with --neck {neck}')
    size = batch if isinstance(batch, int) else len(clips)
    parts = []
    for start in range(0, len(clips), size):
        inputs = [one[start : start + size] for one in (clips.astype(dtype), *flow)]
        missing = size - len(inputs[0])
        padded = [np.pad(one, ((0, missing),) + ((0, 0),) * (one.ndim - 1)) for one in inputs]
        parts.append(program(*padded)[: size - missing])
    return np.concatenate(parts)
