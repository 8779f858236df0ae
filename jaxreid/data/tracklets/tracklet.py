"""A tracklet (the crops of one person passing one camera) and the split of a dataset made of them."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

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
    time: str = ''  # when it begins, as its manifest says: a date and time of ISO 8601, or seconds; '' unknown
    # What else is known of it, as text, by name: scores are told apart by it, see `evaluation.strata`.
    attributes: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test tracklets. A test tracklet may be query and gallery at once."""

    root: str  # folder that the frames' paths start from
    train: tuple[Tracklet, ...]
    test: tuple[Tracklet, ...]
    query: np.ndarray  # [N_test] bool
    gallery: np.ndarray  # [N_test] bool
    pid_names: Mapping[int, str] = dataclasses.field(default_factory=dict)  # what ids were called, where we gave them
    camera_names: Mapping[int, str] = dataclasses.field(default_factory=dict)
    mixed_in: tuple['Dataset', ...] = ()  # whose training tracklets end `train`, with other ids: see `data.mixing`


def queries_first(
    root: str, train: Iterable[Tracklet], query: Sequence[Tracklet], gallery: Sequence[Tracklet]
) -> Dataset:
    """The data set whose test tracklets are queries and, behind them, a gallery of others."""
    is_query = np.arange(len(query) + len(gallery)) < len(query)
    return Dataset(root=root, train=tuple(train), test=(*query, *gallery), query=is_query, gallery=~is_query)


def label_map(train: Iterable[Tracklet]) -> dict[int, int]:
    """Person id -> class label 0 ... num_ids - 1, in the order of the ids."""
    return {pid: label for label, pid in enumerate(sorted({tracklet.pid for tracklet in train}))}


def answerable(dataset: Dataset) -> np.ndarray:
    """[N_test] bool, queries whose identity another camera's gallery tracklet shows: what every protocol can rank."""
    seen_by: dict[int, set[int]] = {}
    for row in np.flatnonzero(dataset.gallery):
        if dataset.test[row].pid != JUNK_ID:
            seen_by.setdefault(dataset.test[row].pid, set()).add(dataset.test[row].camera)
    has_match = [bool(seen_by.get(one.pid, set()) - {one.camera}) for one in dataset.test]
    return np.asarray(dataset.query, bool) & np.asarray(has_match, bool)


def check_answerable(dataset: Dataset) -> None:
    """Stops before hours of work that could not be scored. Raises ValueError: no query, or none with a match."""
    if not answerable(dataset).any():
        counts = f'{len(dataset.test)} test tracklets, {np.count_nonzero(dataset.query)} of them queries'
        raise ValueError(
            f'{dataset.root} has {counts}, and no query whose identity is in the gallery under another camera: nothing '
            'can be scored. Check roles, ids and cameras; --mode extract needs no queries, and data.part=validation '
            'holds training identities out and asks for those.'
        )
