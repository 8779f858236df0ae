"""Reader of VCCR, people who change clothes (392 of them), as its archive is laid out.

    root/                                            or root/VCCR/
      train/<id>/<tracklet>/<name>.jpg
      test_qg/query/<id>/<camera>/<tracklet>/<name>.jpg
      test_qg/gallery/<id>/<camera>/<tracklet>/<name>.jpg

A name's parts stand between hyphens: the second is the camera, the third the outfit, the last the frame, each a letter
and a number (0001-C2-L3-F0017.jpg). So dustin-nguyen-qil/VCCReID-Baseline reads it, but for two things: it sorts frame
numbers as text, and leaves test tracklets of fewer than 8 frames out. An outfit's number counts those of its person.
"""

import os
import re

from jaxreid.data.datasets import contents, facts, listing
from jaxreid.data.tracklets import tracklet

LAYOUT = (
    'A VCCR folder holds train/<id>/<tracklet>/*.jpg and test_qg/query/<id>/<camera>/<tracklet>/*.jpg, the same below '
    'test_qg/gallery, with names such as 0001-C2-L3-F0017.jpg.'
)
_WHAT = 'VCCR'
_PARTS = ('train', 'test_qg/query', 'test_qg/gallery')
_ID = re.compile(r'\d+', re.ASCII)
_ANY = re.compile(r'.+')
_NAME = re.compile(r'[^-]*-[A-Za-z](\d+)-[A-Za-z](\d+)-(?:[^-]*-)*[A-Za-z](\d+)\.jpg', re.ASCII)
_EXAMPLE = '0001-C2-L3-F0017.jpg'


def read(root: str | os.PathLike) -> tracklet.Dataset:
    """Reads and checks the data set in folder `root`; opens no image. Test tracklets are the queries, then the gallery.

    Raises:
      FileNotFoundError: a folder is missing.
      ValueError: a folder or frame has a wrong name, or a tracklet is empty or of several cameras or outfits.
    """
    root = listing.open_root(root, what=_WHAT, layout=LAYOUT)
    prefix = listing.below(root, _WHAT, holds=_PARTS, what=_WHAT, layout=LAYOUT)
    train, query, gallery = (_tracklets(root, prefix + part, part) for part in _PARTS)
    return tracklet.queries_first(root, train, query, gallery)


def _tracklets(root: str, where: str, part: str) -> list[tracklet.Tracklet]:
    folders = []
    for person in listing.folders(os.path.join(root, where), _ID, example='0001'):
        inner = [f'{where}/{person}']
        for _ in range(part.count('/')):  # the test folders have one of the camera between
            inner = [f'{one}/{name}' for one in inner for name in _below(root, one)]
        folders += [(int(person), f'{one}/{name}') for one in inner for name in _below(root, one)]
    return [_tracklet(root, folder, person, part) for person, folder in folders]


def _below(root: str, where: str) -> list[str]:
    return listing.folders(os.path.join(root, where), _ANY, example='0001')


def _tracklet(root: str, where: str, person: int, part: str) -> tracklet.Tracklet:
    folder = os.path.join(root, where)
    matches = listing.frames(listing.files(folder), _NAME, where=folder, example=_EXAMPLE)
    seen = sorted({(match.group(1), match.group(2)) for match in matches})
    if len(seen) > 1:
        raise ValueError(f'{folder} holds frames of camera and outfit {seen[:4]}; expected one of each.')
    return tracklet.Tracklet(
        name=where[where.index(part) :],
        pid=person,
        camera=int(seen[0][0]),
        frames=tuple([f'{where}/{name}' for name in listing.in_order(matches, group=3, where=folder)]),
        attributes={'outfit': seen[0][1]},
    )


FACTS = facts.Facts(
    name='vccr',
    about='VCCR, whose people change clothes.',
    layout=LAYOUT,
    read=lambda data: read(data.root),
    protocol='general',
    more_protocols=('same-clothes', 'clothes-changing'),
    # The README of the repository dustin-nguyen-qil/VCCReID-Baseline.
    published={'ids': 392, 'tracklets': 4384},
    whole=lambda data: contents.with_totals(read(data.root)),
)
