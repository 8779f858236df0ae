"""Reader of G2A-VReID (Zhang et al., ECCV 2024): ground cameras and drones, in MARS' layout.

Every person has a tracklet of the ground camera, number 1, and one of the drone, 2. The gallery leaves the queries out,
as in the authors' evaluation (FHR-L/VSLA-CLIP, utils/test_video_reid.py), which adds them for MARS alone.
"""

import dataclasses

from jaxreid.data.datasets import contents, facts, mars
from jaxreid.data.tracklets import tracklet

LAYOUT = mars.LAYOUT.replace('A MARS', 'A G2A-VReID').replace(' with ', ', as MARS does, with ')


def _read(data: facts.Settings) -> tracklet.Dataset:
    """As `mars.read`, but for the gallery."""
    dataset = mars.read(data.root)
    return dataclasses.replace(dataset, gallery=~dataset.query)


FACTS = facts.Facts(
    name='g2a',
    about='G2A-VReID (Zhang et al., ECCV 2024): from the ground to a drone.',
    layout=LAYOUT,
    read=_read,
    # The README of the repository FHR-L/G2A-VReID.
    published={'ids': 2788, 'tracklets': 5576, 'frames': 185907},
    whole=lambda data: contents.with_totals(_read(data))._replace(counted_from=1, numbered=contents.AFTER_F),
)
