"""AG-VPReID (Nguyen et al., CVPR 2025): people on the ground and from drones at 15 to 120 m, in two directions.

Names are P<id>T<date>A<altitude>C<camera>E<event>K<key>F<frame>.jpg; cameras 0 and 1 are CCTV, 2 and 3 are worn, 4 and
5 fly (README of the repository agvpreid25/AG-VPReID). Layout and reader: `cases`.
"""

import re

from jaxreid.data.datasets.drones import cases

_CAMERA = re.compile(r'P\d+T\d+A\d+C(\d+)E\d+K\d+F\d+\.jpg', re.ASCII)


def camera(name: str) -> int | None:
    """The number that a frame's name says."""
    match = _CAMERA.fullmatch(name)
    return int(match.group(1)) if match else None


FACTS = cases.made_facts(
    'agvpreid',
    'AG-VPReID',
    about='AG-VPReID (Nguyen et al., CVPR 2025): aerial and ground cameras.',
    camera=camera,
    cases=cases.CASES[:2],
    example='P0123T230811A1C2E1K1F001.jpg',
    # Ids: the paper of the challenge (arXiv 2506.22843); cameras: the README. Counts of the parts were not published.
    published={'ids': 3027, 'cameras': 6},
)
