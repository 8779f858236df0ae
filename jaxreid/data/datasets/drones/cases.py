"""What AG-VPReID and DetReIDX share: a training folder, and a query and a gallery folder for each direction of search.

    root/
      train/<id>/<tracklet>/*.jpg
      case1_aerial_to_ground/query/<id>/<tracklet>/*.jpg      .../gallery/...
      case2_ground_to_aerial/...                              likewise
      case3_aerial_to_aerial/...                              DetReIDX alone

Directions are asked for one at a time: papers give each its own figures, and never a mean of the people in them.
"""

import os
import re
from collections.abc import Callable, Sequence
from typing import Any

from jaxreid.data.datasets import contents, facts, listing
from jaxreid.data.tracklets import tracklet

CASES = ('case1_aerial_to_ground', 'case2_ground_to_aerial', 'case3_aerial_to_aerial')
_ID = re.compile(r'\d+', re.ASCII)
_ANY = re.compile(r'.+')
_NAME = re.compile(r'.*?(\d+)\.jpg', re.ASCII)

Camera = Callable[[str], int | None]  # of a frame's name; None: it says none


def read(
    root: str | os.PathLike, *, case: str, camera: Camera, what: str, layout: str, example: str
) -> tracklet.Dataset:
    """One direction as a data set: test tracklets are its queries, then its gallery. Opens no image.

    Raises:
      FileNotFoundError: a folder is missing.
      ValueError: a folder or frame has a wrong name, or a tracklet is empty or of several cameras.
    """
    root = listing.open_root(root, what=what, layout=layout)
    parts = ('train', f'{case}/query', f'{case}/gallery')
    prefix = listing.below(root, what, holds=parts, what=what, layout=layout)
    train, query, gallery = (_tracklets(root, prefix, part, camera, example) for part in parts)
    return tracklet.queries_first(root, train, query, gallery)


def _tracklets(root: str, prefix: str, part: str, camera: Camera, example: str) -> list[tracklet.Tracklet]:
    made = []
    for person in listing.folders(os.path.join(root, prefix, part), _ID, example='0001'):
        for name in listing.folders(os.path.join(root, prefix, part, person), _ANY, example='tracklet_1'):
            where = f'{prefix}{part}/{person}/{name}'
            folder = os.path.join(root, where)
            matches = listing.frames(listing.files(folder), _NAME, where=folder, example=example)
            cameras = {camera(match.string) for match in matches}
            number = cameras.pop()
            if cameras or number is None:
                raise ValueError(
                    f'{folder} holds frames such as {matches[0].string} and {matches[-1].string}, whose names do not '
                    f'say one camera; expected names such as {example}.'
                )
            frames = listing.in_order(matches, group=1, where=folder)
            paths = tuple([f'{where}/{frame}' for frame in frames])
            made.append(tracklet.Tracklet(f'{part}/{person}/{name}', int(person), number, paths))
    return made


def made_facts(name: str, what: str, *, camera: Camera, cases: Sequence[str], example: str, **more: Any) -> facts.Facts:
    """The facts of a data set of this layout; its cases are the values of data.split_rule."""
    layout = (
        f'A {what} folder holds train/<id>/<tracklet>/*.jpg and, for each of {", ".join(cases)}, '
        f'query/<id>/<tracklet>/*.jpg and gallery/<id>/<tracklet>/*.jpg, with names such as {example}.'
    )

    def of_case(data: facts.Settings, case: str) -> tracklet.Dataset:
        return read(data.root, case=case, camera=camera, what=what, layout=layout, example=example)

    def case_of(data: facts.Settings) -> str:
        return data.split_rule or cases[0]

    def whole(data: facts.Settings) -> contents.Contents:
        of = {case: of_case(data, case) for case in cases}
        first = of[cases[0]]
        parts = {'train': first.train} | {case: one.test for case, one in of.items()}
        everyone = [one for part in parts.values() for one in part]
        counts: dict[str, contents.Count] = {
            'ids': len(contents.ids(everyone)),
            'cameras': len({one.camera for one in everyone}),
            **contents.tally('train', first.train),
        }
        for case, one in of.items():
            for part in ('query', 'gallery'):
                counts |= contents.tally(f'{case} {part}', contents.marked(one.test, getattr(one, part)))
        return contents.Contents(first.root, parts, counts, contents.folders(everyone, below=3))

    return facts.Facts(
        name=name,
        layout=layout,
        read=lambda data: of_case(data, case_of(data)),
        whole=whole,
        split_rules=tuple(cases),
        title=lambda data: f'{name} {case_of(data)}',
        **more,
    )
