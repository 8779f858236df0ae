"""Part of a training split held out to choose settings by (STMN, ICCV 2021, section 4.1).

STMN divides the 625 training ids of MARS into 500 and 125 with 7,075 and 1,223 tracklets: the first 500 ids in order
have just these counts. Of the 1,223, 200 random ones are queries; scores are means over five such draws.
"""

import dataclasses

import numpy as np

from jaxreid.data.tracklets import hash_order, tracklet

NUM_QUERIES = 200
_HELD_OUT = 5  # every fifth id, counted at the end: 125 of 625


def split(dataset: tracklet.Dataset, *, trial: int) -> tracklet.Dataset:
    """Replaces the test split by the last fifth of the training ids.

    Queries, `NUM_QUERIES` or fewer, are drawn among the held out tracklets whose identity was seen by another camera as
    well [choice: the paper does not say; the others have no match]. All held out tracklets are the gallery, as in MARS'
    own test split.

    Raises:
      ValueError: fewer than five training ids, or nobody held out was seen by two cameras.
    """
    ids = sorted({one.pid for one in dataset.train})
    held_out = set(ids[len(ids) - len(ids) // _HELD_OUT :])
    if not held_out:
        raise ValueError(
            f'{dataset.root} has {len(ids)} training ids; a validation part takes every fifth, so at least {_HELD_OUT} '
            "are needed. Set data.part='official'."
        )
    train = tuple([one for one in dataset.train if one.pid not in held_out])
    test = tuple([one for one in dataset.train if one.pid in held_out])
    cameras: dict[int, set[int]] = {}
    for one in test:
        cameras.setdefault(one.pid, set()).add(one.camera)
    candidates = {one.name: row for row, one in enumerate(test) if len(cameras[one.pid]) > 1}
    if not candidates:
        raise ValueError(
            f'None of the {len(held_out)} ids held out of {dataset.root} was seen by two cameras, so no query has a '
            "match. Set data.part='official'."
        )
    drawn = hash_order.shuffled(candidates, seed=f'validation trial {trial}')[:NUM_QUERIES]
    query = np.zeros(len(test), bool)
    query[[candidates[name] for name in drawn]] = True
    return dataclasses.replace(dataset, train=train, test=test, query=query, gallery=np.ones(len(test), bool))
