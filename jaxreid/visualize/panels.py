"""Figures made of pictures: what a network sees in chosen tracklets, row by row, for pages and sheets alike."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from jaxreid.visualize import attention_maps, memory_maps, sheet


@dataclasses.dataclass(frozen=True)
class PictureRow:
    """Pictures side by side under a heading."""

    heading: str
    pictures: Sequence[sheet.Picture]
    bars: Sequence[float] = ()  # a share 0 ... 1 under each picture
    follows: bool = False  # belongs to the row above


@dataclasses.dataclass(frozen=True)
class Panel:
    """A figure: rows of pictures, what they show, and which figure of a paper shows the same."""

    name: str  # of the file
    title: str
    text: str
    rows: Sequence[PictureRow]


@dataclasses.dataclass(frozen=True)
class Clip:
    """A clip of a tracklet and what a network gave for it."""

    name: str
    frames: np.ndarray  # [T, H, W, 3] uint8
    positions: np.ndarray  # [T] of the frames in the tracklet
    extras: Mapping[str, np.ndarray]  # extras of the network, [T, ...] or [N] each, without the axis of the batch


def pictures(images: np.ndarray, captions: Sequence[str]) -> list[sheet.Picture]:
    """[n, H, W, 3] uint8, each with its caption."""
    return [sheet.Picture(image, caption) for image, caption in zip(images, captions, strict=True)]


def plain(clip: Clip) -> list[sheet.Picture]:
    """The frames of a clip with their places in the tracklet."""
    return pictures(clip.frames, [f'frame {p + 1}' for p in clip.positions])


def percent(value: float) -> str:
    """A share 0 ... 1 for a caption."""
    return f'{100 * value:.1f}\u00a0%'


def attention(clips: Sequence[Clip], *, text: str) -> Panel | None:
    """Attention over the positions of each frame, its strips and the weights of the frames, as far as there are any."""
    rows = []
    for clip in clips:
        if 'attention' not in clip.extras:
            continue
        rows.append(PictureRow(clip.name, plain(clip)))
        maps = attention_maps.over_frames(clip.frames, clip.extras['attention'])
        weights = clip.extras.get('frame_weights')
        captions = [''] * len(maps) if weights is None else [percent(w) for w in weights]
        heading = 'attention' if weights is None else 'attention, and the weight of the frame'
        bars = () if weights is None else weights.tolist()
        rows.append(PictureRow(heading, pictures(maps, captions), bars, follows=True))
        if 'stripe_scores' in clip.extras:
            scores = clip.extras['stripe_scores']  # [T, K]
            stripes = attention_maps.overlay(clip.frames, attention_maps.heat(_stripes(scores, clip.frames.shape[1:3])))
            captions = [' '.join(f'{100 * s:.0f}' for s in frame) for frame in scores]
            heading = 'share of each stripe in the clip, percent from the top'
            rows.append(PictureRow(heading, pictures(stripes, captions), follows=True))
    return Panel('attention', 'Attention per frame', text, rows) if rows else None


def _stripes(scores, size):
    """Scores [T, K] as maps [T, H, W], 0 ... 1 from the smallest to the largest."""
    height, width = size
    which = np.arange(height) * scores.shape[1] // height
    return np.broadcast_to(attention_maps.scaled(scores)[:, which, None], (len(scores), height, width))


def match_maps(clips: Sequence[tuple[str, Clip]]) -> Panel | None:
    """STMN Figure 5: for one frame of each clip where each spatial key matches; several networks one below the other.

    Args:
      clips: (network, clip) in the order of the rows.
    """
    rows: list[PictureRow] = []
    for network, clip in clips:
        if 'spatial_match' not in clip.extras:
            continue
        t = len(clip.frames) // 2
        match = np.moveaxis(clip.extras['spatial_match'][t], -1, 0)  # [M, h, w]
        maps = attention_maps.over_frames(np.repeat(clip.frames[t : t + 1], len(match), 0), match, together=1)
        captions = [f'key {m + 1} {percent(probabilities.max())}' for m, probabilities in enumerate(match)]
        spread = f'{percent(match.min())} to {percent(match.max())}'
        rows.append(
            PictureRow(
                f'{clip.name}, frame {clip.positions[t] + 1} · {network} · colours from {spread}',
                [sheet.Picture(clip.frames[t], 'frame'), *pictures(maps, captions)],
                follows=bool(rows) and rows[-1].heading.startswith(f'{clip.name}, '),
            )
        )
    text = (
        'Probability that a position reads each item of the spatial memory. One colour scale per row: an item that is '
        'dark everywhere is hardly read here. Below each map its maximum. Without the memory spread loss the maps of '
        'the items look alike.'
    )
    return Panel('match_maps', 'Where the keys of the spatial memory match', text, rows) if rows else None


def refinement(clips: Sequence[Clip]) -> Panel | None:
    """STMN Figure 7: by how much the spatial memory changes the length of the feature at each position."""
    rows = []
    for clip in clips:
        if 'refinement' not in clip.extras:
            continue
        maps, largest = attention_maps.signed_over_frames(clip.frames, clip.extras['refinement'])
        captions = [f'{change.mean():+.3f} on average' for change in clip.extras['refinement']]
        rows.append(PictureRow(clip.name, plain(clip)))
        heading = f'change of the length, blue -{largest:.3f} to red +{largest:.3f}'
        rows.append(PictureRow(heading, pictures(maps, captions), follows=True))
    text = (
        'Length of the feature after the spatial memory minus before it, ‖f^s‖ - ‖f^o‖. Blue: suppressed. Red: raised.'
    )
    return Panel('refinement', 'What the spatial memory takes off', text, rows) if rows else None


def key_frames(keys: memory_maps.KeyFrames, shown: Sequence[Sequence[Clip]]) -> Panel:
    """STMN Figure 6: the frames that each spatial key retrieves, with the map of that key.

    Args:
      keys: from `memory_maps.frames_of_keys`.
      shown: M lists of n clips of one frame, in the order of `keys`; with 'spatial_match' [1, h, w, M] where the
        places are positions.
    """
    rows = []
    for m, clips in enumerate(shown):
        row = []
        for clip, value in zip(clips, keys.match[m], strict=True):
            image = clip.frames[0]
            if 'spatial_match' in clip.extras:
                maps = clip.extras['spatial_match'][..., m]
                image = attention_maps.over_frames(clip.frames, maps, strength=0.35)[0]
            row.append(sheet.Picture(image, f'{clip.name} no.\u00a0{clip.positions[0] + 1} {percent(value)}'))
        rows.append(PictureRow(f'key {m + 1}', row))
    text = (
        'The frames of the test split with the highest match probability of each key, one per tracklet; bright where '
        'the key matches.'
    )
    return Panel('key_frames', 'Frames retrieved by a key of the spatial memory', text, rows)


def key_sequences(keys: memory_maps.KeySequences, values: np.ndarray, shown: Sequence[Sequence[Clip]]) -> Panel:
    """STMN Figure 9: the sequences that each temporal key retrieves, and the frame weights that its value stands for.

    Args:
      keys: from `memory_maps.sequences_of_keys`.
      values: [N, L], of the temporal memory.
      shown: N lists of n clips, in the order of `keys`.
    """
    rows = []
    for n, (clips, weights) in enumerate(zip(shown, memory_maps.attention_of_values(values), strict=True)):
        for i, (clip, value) in enumerate(zip(clips, keys.match[n], strict=True)):
            captions = [f'{percent(w)}; value {v:.2f}' for w, v in zip(weights, values[n])] if i == 0 else None
            row = pictures(clip.frames, captions or [''] * len(clip.frames))
            heading = f'key {n + 1} · {clip.name}, match {percent(value)}'
            rows.append(PictureRow(heading, row, weights.tolist() if i == 0 else (), follows=i > 0))
    text = (
        'The sequences of the test split with the highest match probability of each key. Under the first of each key '
        'stand its value and the weights of the frames if a clip read this item alone.'
    )
    return Panel('key_sequences', 'Sequences retrieved by a key of the temporal memory', text, rows)


def temporal(clips: Sequence[tuple[str, Clip]]) -> Panel | None:
    """STMN Figure 10: weights of the frames of a sequence, in two orders, by one or several networks.

    Args:
      clips: (what the row shows, clip) in the order of the rows.
    """
    rows: list[PictureRow] = []
    for label, clip in clips:
        weights = clip.extras.get('frame_weights')
        if weights is None:
            continue
        captions = [f'{p + 1}: {percent(w)}' for p, w in zip(clip.positions, weights)]
        read = clip.extras.get('temporal_match')
        items = '' if read is None else ' · read from the items: ' + ', '.join(percent(v) for v in read)
        follows = bool(rows) and rows[-1].heading.startswith(f'{clip.name} · ')
        rows.append(
            PictureRow(f'{clip.name} · {label}{items}', pictures(clip.frames, captions), weights.tolist(), follows)
        )
    text = (
        'Weights of the frames of a sequence as filmed and of the same frames in another order, each with its number '
        'in the tracklet. Weights that follow the frame and not its place have seen what is in it.'
    )
    return Panel('temporal_attention', 'Temporal attention', text, rows) if rows else None


def retrieval_change(rows: Sequence[PictureRow], *, before: Mapping[str, float], after: Mapping[str, float]) -> Panel:
    """STMN Figure 8: first places with the feature before and after the spatial memory.

    Args:
      rows: two per query.
      before, after: 'mAP' and 'rank1' in percent.
    """
    text = (
        'Retrieval with the mean of the frames before the spatial memory (f^o) and after it (f^s), one clip per '
        f'tracklet. f^o: mAP {before["mAP"]:.1f}, rank-1 {before["rank1"]:.1f}; f^s: mAP {after["mAP"]:.1f}, rank-1 '
        f'{after["rank1"]:.1f}. The queries that gain most, then those that lose most.'
    )
    return Panel('refinement_retrieval', 'Retrieval with and without the spatial memory', text, rows)
