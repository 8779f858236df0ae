"""What a network with weights for frames does with them: their range, and whether hidden frames get less."""

import pathlib
from typing import NotRequired, TypedDict

import numpy as np

from jaxreid.data.batches import clip_sampling
from jaxreid.data.synthetic import attributes, plan
from jaxreid.data.tracklets import tracklet


class FrameWeights(TypedDict):
    """Weights of a clip's frames, times their number: 1 is an even share.

    lowest, highest: of all. hidden, others: means over the frames in which the person is hidden, and over the other
    frames of the same clips; correlation: of weight and being hidden among them. The last three where the renderer's
    plan tells which frames those are, and a tracklet is one clip. memory_scale: mean size of the spatial memory's BN
    scale, for networks that have one.
    """

    lowest: float
    highest: float
    hidden: NotRequired[float]
    others: NotRequired[float]
    correlation: NotRequired[float]
    memory_scale: NotRequired[float]


def of(weights: np.ndarray, hidden: np.ndarray | None) -> FrameWeights:
    """Describes weights [N, T] that sum to 1 over frames; `hidden` [N, T] bool, or None where it is not known."""
    shares = weights * weights.shape[1]
    made = FrameWeights(lowest=float(shares.min()), highest=float(shares.max()))
    if hidden is not None:
        both = hidden.any(1) & ~hidden.all(1)
        shares, hidden = shares[both], hidden[both]
        if hidden.size and shares.std() > 0:
            made['hidden'] = float(shares[hidden].mean())
            made['others'] = float(shares[~hidden].mean())
            made['correlation'] = float(np.corrcoef(shares.ravel(), hidden.ravel())[0, 1])
    return made


def hidden_frames(dataset: tracklet.Dataset, *, clips: str, frames: int, seed: int) -> np.ndarray | None:
    """Where the person is hidden in the one clip of every test tracklet, by the renderer's plan: [N, T] bool.

    None for other data sets, and where a tracklet has several clips.
    """
    description = pathlib.Path(dataset.root, plan.DESCRIPTION)
    if clips in ('all_frames', 'interleaved', 'whole') or not description.is_file():
        return None
    made = plan.read(dataset.root)
    walks = made.tracklets['test']
    if len(walks) != len(dataset.test):
        return None
    return np.stack(
        [
            attributes.occluded_frames(plan.layout(made, walk))[
                clip_sampling.test_clips(walk.frames, kind=clips, frames=frames, seed=seed, row=row)[0]
            ]
            for row, walk in enumerate(walks)
        ]
    )


def sentence(weights: FrameWeights) -> str:
    """One line for a table of results."""
    said = f'frame weights {weights["lowest"]:.2f} to {weights["highest"]:.2f} of an even share'
    if 'correlation' in weights:
        said += (
            f'; hidden frames {weights["hidden"]:.2f}, others of their clips {weights["others"]:.2f}, '
            f'correlation {weights["correlation"]:.2f}'
        )
    if 'memory_scale' in weights:
        said += f'; scale of the spatial memory {weights["memory_scale"]:.3f}'
    return said
