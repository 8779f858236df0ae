"""Slow oracles of the samplers: all clips a rule allows, and what makes an epoch's batches valid."""

import collections
import fractions
import itertools


def padded(frames, length):
    return frames + [frames[-1]] * (length - len(frames))


def looped(frames, length):
    out = []
    while len(out) < length:
        out += frames
    return out[:length]


def random_clips(f, t):
    """All sorted clips of t frames: without repeats, or with where there are fewer frames."""
    choose = itertools.combinations if f >= t else itertools.combinations_with_replacement
    return set(choose(range(f), t))


def stride_crops(f, t, stride):
    if f < t * stride:
        return random_clips(f, t)
    clips = set()
    for start in range(f):
        clip = list(range(f))[start::stride][:t]
        if len(clip) == t:
            clips.add(tuple(clip))
    return clips


def rrs_chunks(f, t):
    chunk = 1
    while chunk * t < f:
        chunk += 1
    frames = padded(list(range(f)), chunk * t)
    return [frames[i * chunk : (i + 1) * chunk] for i in range(t)]


def rrs_clips(f, t):
    return set(itertools.product(*rrs_chunks(f, t)))


def rrs_test(f, t):
    return [chunk[0] for chunk in rrs_chunks(f, t)]


def consecutive_clips(f, t):
    if f < t:
        return {tuple(looped(list(range(f)), t))}
    return {tuple(range(start, start + t)) for start in range(f) if start + t <= f}


def begin_crop(f, t):
    for stride in (8, 4, 2, 1):
        clip = list(range(f))[::stride][:t]
        if len(clip) == t:
            return clip
    return looped(list(range(f)), t)


def all_frames(f, t):
    clips, rest = [], list(range(f))
    while rest:
        clips.append(looped(rest[:t], t))
        rest = rest[t:]
    return clips


def interleaved(f, t):
    """Clips of every n-th frame, n clips of t frames each; what does not divide is dropped."""
    frames = padded(list(range(f)), t)
    n = len(frames) // t
    return [[frames[j * n + i] for j in range(t)] for i in range(n)]


def even(f, t):
    """The frame in which the middle of each of t equal parts of [0, f) lies."""
    clip = []
    for part in range(t):
        middle = fractions.Fraction(f, t) * (part + fractions.Fraction(1, 2))
        clip.append(max(frame for frame in range(f) if frame <= middle))
    return clip


def whole(f, t):
    length = t
    while length < f:
        length = length + length
    return padded(list(range(f)), length)


def check_batch(batch, pids, *, p, k):
    """A batch is p blocks of k tracklets, each block of one identity. Returns the identities of the blocks."""
    assert len(batch) == p * k
    blocks = [batch[start : start + k] for start in range(0, p * k, k)]
    ids = []
    for block in blocks:
        assert len({pids[row] for row in block}) == 1
        ids.append(pids[block[0]])
    return ids


def groups_per_id(pids, k):
    """How many groups of k an epoch over tracklets takes from each identity."""
    return {pid: max(1, n // k) for pid, n in collections.Counter(pids).items()}


def greedy_steps(pids, *, p, k, rng):
    """Length of one epoch of batches with distinct identities, by playing it through with `random.Random` rng."""
    left = groups_per_id(pids, k)
    steps = 0
    while len(left) >= p:
        steps += 1
        for pid in rng.sample(sorted(left), p):
            left[pid] -= 1
            if not left[pid]:
                del left[pid]
    return steps
