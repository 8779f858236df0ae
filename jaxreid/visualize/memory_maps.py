"""What the memories of STMN hold, as data for the figures of the paper (ICCV 2021, Figs. 5 to 10; docs/stmn.md)."""

from typing import NamedTuple, TypedDict

import numpy as np


class KeyFrames(NamedTuple):
    """The frames that read each item of the spatial memory most."""

    tracklet: np.ndarray  # [M, n] int32, rows
    frame: np.ndarray  # [M, n] int32, positions in the clip
    match: np.ndarray  # [M, n] float32, highest match probability of any place of the frame


def frames_of_keys(strongest: np.ndarray, *, count: int) -> KeyFrames:
    """Figure 6: for every spatial key the frames with the highest match probability, one frame per tracklet.

    Args:
      strongest: [N, L, M] float, for each frame of N clips and each item the highest probability over the places.
      count: frames per key; fewer where there are fewer tracklets. Ties: the earlier row and frame.
    """
    best = strongest.argmax(1)  # [N, M]
    value = np.take_along_axis(strongest, best[:, None], 1)[:, 0]  # [N, M]
    rows = np.argsort(-value, axis=0, kind='stable')[:count].T  # [M, n]
    items = np.arange(value.shape[1])[:, None]
    return KeyFrames(rows.astype(np.int32), best[rows, items].astype(np.int32), value[rows, items].astype(np.float32))


class KeySequences(NamedTuple):
    """The clips that read each item of the temporal memory most."""

    tracklet: np.ndarray  # [N, n] int32, rows
    match: np.ndarray  # [N, n] float32


def sequences_of_keys(match: np.ndarray, *, count: int) -> KeySequences:
    """Figure 9: for every temporal key the clips with the highest match probability; `match` is [clips, N]."""
    rows = np.argsort(-match, axis=0, kind='stable')[:count].T
    return KeySequences(rows.astype(np.int32), np.take_along_axis(match.T, rows, 1).astype(np.float32))


def attention_of_values(values: np.ndarray) -> np.ndarray:
    """The frame weights of a clip that reads one item alone: [N, L] values of the temporal memory, softmax over L."""
    values = values.astype(np.float64)
    weights = np.exp(values - values.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


def reordering(frames: int, *, seed: int = 0) -> np.ndarray:
    """[L], an order of the frames of a clip that is not the given one (where L > 1), for Figure 10."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(frames)
    while frames > 1 and (order == np.arange(frames)).all():
        order = rng.permutation(frames)
    return order


class Change(TypedDict):
    """A query, by its position, and its AP without and with refinement."""

    query: int
    before: float
    after: float


def changed_most(before: np.ndarray, after: np.ndarray, *, count: int) -> list[Change]:
    """Figure 8: the queries whose AP changes most, half of them for the better, half for the worse, as far as any do.

    Args:
      before, after: [Q] AP without and with refinement.
      count: queries in all.

    Returns:
      First those that gain, most first, then those that lose, most first.
    """
    gain = after - before
    up = [i for i in np.argsort(-gain, kind='stable').tolist() if gain[i] > 0][: count // 2]
    down = [i for i in np.argsort(gain, kind='stable').tolist() if gain[i] < 0][: count - count // 2]
    return [{'query': i, 'before': float(before[i]), 'after': float(after[i])} for i in up + down]
