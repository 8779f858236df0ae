"""Which frames of a tracklet make a clip. Positions only; pixels come later (docs/protocols.md).

F frames of the tracklet, T frames of the clip. Every function works for any F >= 1, T >= 1.
"""

import numpy as np

from jaxreid import config

_BEGIN_STRIDES = (8, 4, 2, 1)


def train_clip(num_frames: int, rng: np.random.Generator, *, kind: str, frames: int, stride_frames: int) -> np.ndarray:
    """Draws a training clip of a tracklet of F frames, `kind` as `sampler.clip`: [T] int64 positions 0 ... F - 1, in
    order of time save where a short tracklet is looped.

    The clip has a generator of its own, so that other clips do not depend on how much this one draws.
    """
    match kind:
        case 'stride_crop':
            return stride_crop(num_frames, rng, frames=frames, stride_frames=stride_frames)
        case 'rrs':
            return rrs(num_frames, rng, frames=frames)
        case 'random':
            return random(num_frames, rng, frames=frames)
        case 'begin_crop':
            return begin_crop(num_frames, frames=frames)
        case 'consecutive':
            return consecutive(num_frames, rng, frames=frames)
        case _:
            raise config.unknown('sampler.clip', kind)


def test_clips(num_frames: int, *, kind: str, frames: int, seed: int, row: int) -> np.ndarray:
    """The clips that stand for a tracklet of F frames, `kind` as `test.clips`: [n_clips, T] int64 positions 0 ... F -
    1; one clip but for 'all_frames' and 'interleaved'. The one clip of 'whole' has T * 2^k positions, see `whole`.

    The draw of 'random' is a function of `seed` and `row`, the tracklet's among all.
    """
    match kind:
        case 'all_frames':
            return all_frames(num_frames, frames=frames)
        case 'interleaved':
            return interleaved(num_frames, frames=frames)
        case 'rrs':
            return rrs_first(num_frames, frames=frames)[None]
        case 'begin_crop':
            return begin_crop(num_frames, frames=frames)[None]
        case 'random':
            return random(num_frames, np.random.default_rng((seed, row)), frames=frames)[None]
        case 'even':
            return even(num_frames, frames=frames)[None]
        case 'whole':
            return whole(num_frames, frames=frames)[None]
        case _:
            raise config.unknown('test.clips', kind)


def num_test_clips(num_frames: int, *, kind: str, frames: int) -> int:
    """How many rows `test_clips` has."""
    match kind:
        case 'all_frames':
            return -(-num_frames // frames)
        case 'interleaved':
            return max(1, num_frames // frames)
        case _:
            return 1


def stride_crop(num_frames: int, rng: np.random.Generator, *, frames: int, stride_frames: int) -> np.ndarray:
    """Every stride-th frame from a random start (AP3D, TCLNet); [T].

    From F >= T * stride on. Shorter tracklets give T distinct random frames, in order; shorter than T, with repeats.
    The last start is the one whose last frame is frame F - 1.
    """
    if num_frames < frames * stride_frames:
        return random(num_frames, rng, frames=frames)
    start = rng.integers(num_frames - (frames - 1) * stride_frames)
    return start + stride_frames * np.arange(frames)


def random(num_frames: int, rng: np.random.Generator, *, frames: int) -> np.ndarray:
    """T distinct random frames in order, with repeats where F < T; [T]."""
    return np.sort(rng.choice(num_frames, size=frames, replace=num_frames < frames))


def rrs(num_frames: int, rng: np.random.Generator, *, frames: int) -> np.ndarray:
    """Restricted random sampling (Li et al., CVPR 2018): one random frame of each of T equal chunks; [T].

    Chunks hold ceil(F / T) frames; the tracklet is padded to T chunks by its last frame.
    """
    chunk = -(-num_frames // frames)
    return np.minimum(np.arange(frames) * chunk + rng.integers(chunk, size=frames), num_frames - 1)


def rrs_first(num_frames: int, *, frames: int) -> np.ndarray:
    """Test side of `rrs`: the first frame of each chunk; [T]."""
    chunk = -(-num_frames // frames)
    return np.minimum(np.arange(frames) * chunk, num_frames - 1)


def begin_crop(num_frames: int, *, frames: int) -> np.ndarray:
    """T frames from the first on at the widest stride of 8, 4, 2, 1 that fits; looped where F < T; [T].

    For T = 4 the strides fit from 25, 13, 7 and 4 frames on (AP3D's quick test).
    """
    for stride in _BEGIN_STRIDES:
        if num_frames > (frames - 1) * stride:
            return stride * np.arange(frames)
    return np.arange(frames) % num_frames


def consecutive(num_frames: int, rng: np.random.Generator, *, frames: int) -> np.ndarray:
    """T frames side by side from a random start; all frames, looped, where F < T; [T]."""
    if num_frames < frames:
        return np.arange(frames) % num_frames
    return rng.integers(num_frames - frames + 1) + np.arange(frames)


def all_frames(num_frames: int, *, frames: int) -> np.ndarray:
    """Every frame, cut into consecutive clips; a short last clip is completed by looping its own frames; [n, T]."""
    position = np.arange(-(-num_frames // frames) * frames).reshape(-1, frames)
    in_last = num_frames - position[-1, 0]  # frames the last clip has of its own
    position[-1] = position[-1, 0] + np.arange(frames) % in_last
    return position


def interleaved(num_frames: int, *, frames: int) -> np.ndarray:
    """Clip i holds every n-th frame from frame i on, n = F // T, so that each spans the tracklet; [n, T].

    The last F - n * T frames are in no clip. F < T gives one clip, padded by the last frame. (STMN's test. Its released
    code pads by the second to last entry of the growing list, so that the last two frames take turns: 3 frames become
    0, 1, 2, 1, 2, 1.)
    """
    clips = max(1, num_frames // frames)
    return np.minimum(np.arange(clips)[:, None] + clips * np.arange(frames)[None], num_frames - 1)


def even(num_frames: int, *, frames: int) -> np.ndarray:
    """The frames in the middle of T equal parts of the tracklet; distinct where F >= T; [T]."""
    return (2 * np.arange(frames) + 1) * num_frames // (2 * frames)


def whole(num_frames: int, *, frames: int) -> np.ndarray:
    """All frames in order, padded by the last one to T * 2^k, the smallest that holds them; [T * 2^k].

    Few lengths, so that few programs are compiled, at no more than twice the frames (or T).
    """
    length = frames
    while length < num_frames:
        length *= 2
    return np.minimum(np.arange(length), num_frames - 1)
