"""A tracklet (the crops of one person passing one camera) and the split of a dataset made of them."""

import dataclasses
from collections.abc import Iterable

import numpy as np

JUNK_ID = -1  # MARS: detections nobody should be ranked on
DISTRACTOR_ID = 0  # MARS: false detections that stay in the gallery as negatives


@dataclasses.dataclass(frozen=True, slots=True)
class Tracklet:
    """Frames of one person in one camera, in order of time."""

    name: str  # unique in its split, e.g. 0001C1T0001
    pid: int  # the dataset's person id; see JUNK_ID and DISTRACTOR_ID
    camera: int  # the dataset's camera number
    frames: tuple[str, ...]  # image files relative to the dataset's root, '/' between folders
    next_frame: str = ''  # a piece of a longer tracklet: the file that follows there; optical flow looks at it


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test tracklets. A test tracklet may be query and gallery at once."""

    root: str  # folder that the frames' paths start from
    train: tuple[Tracklet, ...]
    test: tuple[Tracklet, ...]
    query: np.ndarray  # [N_test] bool
    gallery: np.ndarray  # [N_test] bool


def label_map(train: Iterable[Tracklet]) -> dict[int, int]:
    """Person id -> class label 0 ... num_ids - 1, in the order of the ids."""
    return {pid: label for label, pid in enumerate(sorted({tracklet.pid for tracklet in train}))}
