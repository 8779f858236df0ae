"""Reader of PRID-2011 (Hirzer et al., SCIA 2011), its multi-shot part, as downloaded: two cameras, ten splits.

    root/
      prid_2011/multi_shot/cam_a/person_0001/0001.png ...   385 persons; cam_b has 749

Only the persons 1 to 200 are in both cameras: from 201 on, equal numbers are different people. Query is camera a (1),
gallery camera b (2).
"""

import os
import re

from jaxreid.data.datasets import contents, facts, listing
from jaxreid.data.tracklets import hash_order, tracklet

LAYOUT = (
    'A PRID-2011 folder holds prid_2011/multi_shot/cam_a/person_<number>/*.png and the same below cam_b (the '
    'multi-shot part of the download).'
)
_WHAT = 'PRID-2011'
_CAMERAS = ('multi_shot/cam_a', 'multi_shot/cam_b')
_LAST_SHARED = 200  # persons up to this one are in both cameras
_SHARED = range(1, _LAST_SHARED + 1)
_FEW, _ENOUGH = 21, 27  # frames in both cameras
_FOLDER = re.compile(r'person_\d{4}', re.ASCII)
_NAME = re.compile(r'(\d{4,})\.png', re.ASCII)
_EXAMPLE = '0001.png'

# The ten splits that most works use: 178 persons, those with at least 27 frames in both cameras, 89 to test on and 89
# to train on. From splits_prid2011.json of the repository AsuradaYuci/CNN-RNN2016; bit i - 1 of a number is set where
# person i is tested on.
_TEST_OF_178 = (
    0x15DAB37F0009D8100E6A185C35825727345A21FCBDA441B847,
    0x3ED71C7950071A1100055DAC0CCFD53B1E18C62506A3B807D9,
    0x3F150DA5100DFE89310703B4A8C0C4E2085ED5D9D91DC3CA44,
    0x23809FA0D31BBA1974DA701D684AC738B18A83272C26F081CA,
    0x165F1E7F091F801845666461DDC2E56C844897587895D00156,
    0x2A9D8A031D818E180F9F7278A0882E709154A2BB92129ABB9B,
    0x30922FFA90133241636B695C054EBFA08D04B6998D9950C998,
    0x23C8967ECA1BDAD16BE3249DF78462E4020695C10D29005B06,
    0x0F5F846887964A9017AE541C7759AC28B280D6CD2E06614F04,
    0x2993BCA0829966482162576889C0F79F268EB15F06A190E709,
)
_LEFT_OUT_OF_178 = frozenset(
    (6, 19, 31, 52, 57, 62, 71, 94, 106, 120, 136, 138, 139, 142, 145, 158, 159, 166, 183, 190, 199, 200)
)


def read(root: str | os.PathLike, *, split: int = 0, persons: int = 178) -> tracklet.Dataset:
    """Reads and checks the data set in folder `root`; opens no image.

    Args:
      root: the folder.
      split: 0 to 9.
      persons: 178 or 200, see `people`.

    Returns:
      Dataset: half of the persons in both cameras to train on; of the others camera a as query, camera b as gallery.

    Raises:
      FileNotFoundError: a folder of a camera or of a person is missing.
      ValueError: wrong names, or an empty tracklet.
    """
    train, test = people(split=split, persons=persons)
    root, prefix = _open(root)
    wanted = [f'person_{number:04d}' for number in sorted((*train, *test))]
    for camera in _CAMERAS:
        folder = os.path.join(root, prefix, *camera.split('/'))
        missing = sorted(set(wanted) - set(listing.folders(folder, _FOLDER, example='person_0001')))
        if missing:
            raise FileNotFoundError(
                f'{folder} lacks {len(missing)} of the {len(wanted)} persons that the splits name, such as '
                f'{missing[0]}. Unpack the archive again.'
            )
    query = [_tracklet(root, prefix, number, 'a') for number in test]
    gallery = [_tracklet(root, prefix, number, 'b') for number in test]
    trained = [_tracklet(root, prefix, number, camera) for number in train for camera in 'ab']
    return tracklet.queries_first(root, trained, query, gallery)


def everyone(root: str | os.PathLike) -> tuple[tracklet.Tracklet, ...]:
    """The tracklets of all persons, whether a split names them or not: camera a, then camera b.

    Raises:
      FileNotFoundError: a folder of a camera is missing.
      ValueError: wrong names, or an empty tracklet.
    """
    root, prefix = _open(root)
    return tuple(
        [
            _tracklet(root, prefix, int(name[-4:]), camera[-1])
            for camera in _CAMERAS
            for name in listing.folders(os.path.join(root, prefix, camera), _FOLDER, example='person_0001')
        ]
    )


def _open(root: str | os.PathLike) -> tuple[str, str]:
    """Absolute path of the data set's folder, and where in it the multi-shot part is."""
    path = listing.open_root(root, what=_WHAT, layout=LAYOUT)
    return path, listing.below(path, 'prid_2011', holds=_CAMERAS, what=_WHAT, layout=LAYOUT)


def people(*, split: int, persons: int) -> tuple[list[int], list[int]]:
    """Persons to train on and to test on, each sorted.

    Args:
      split: 0 to 9.
      persons: 178 (those with enough frames, in the ten splits that most works share) | 200 (all whom both cameras saw,
        as STAR describes it, in ten random splits of ours).
    """
    if not 0 <= split < len(_TEST_OF_178):
        raise ValueError(f'PRID-2011 has splits 0 to {len(_TEST_OF_178) - 1}; split {split} was asked for.')
    match persons:
        case 178:
            everyone = [number for number in _SHARED if number not in _LEFT_OUT_OF_178]
            test = {number for number in everyone if _TEST_OF_178[split] >> (number - 1) & 1}
        case 200:
            everyone = list(_SHARED)
            test = set(hash_order.shuffled(everyone, seed=f'prid2011 split {split}')[: len(everyone) // 2])
        case _:
            raise ValueError(f'PRID-2011 has splits of 178 or 200 persons; {persons} were asked for.')
    return [number for number in everyone if number not in test], sorted(test)


def _tracklet(root: str, prefix: str, number: int, camera: str) -> tracklet.Tracklet:
    person = f'person_{number:04d}'
    where = f'{prefix}multi_shot/cam_{camera}/{person}'
    folder = os.path.join(root, where)
    matches = listing.frames(listing.files(folder), _NAME, where=folder, example=_EXAMPLE)
    return tracklet.Tracklet(
        name=f'cam_{camera}/{person}',
        pid=number,
        camera='ab'.index(camera) + 1,
        frames=tuple([f'{where}/{name}' for name in listing.in_order(matches, group=1, where=folder)]),
    )


def _count(data: facts.Settings) -> contents.Contents:
    all_of_them = everyone(data.root)
    frames = [{t.pid: len(t.frames) for t in all_of_them if t.camera == camera} for camera in (1, 2)]
    both = {pid for pid in set(frames[0]) & set(frames[1]) if pid <= _LAST_SHARED}
    few, enough = ({p for p in both if min(frames[0][p], frames[1][p]) >= least} for least in (_FEW, _ENOUGH))
    in_splits = set().union(*people(split=0, persons=178))
    counts: dict[str, contents.Count] = {
        'persons of camera a': len(frames[0]),
        'persons of camera b': len(frames[1]),
        'persons in both cameras': len(both),
        'persons with 21 or more frames in both': len(few),
        'persons with 27 or more frames in both': len(enough),
        'of these, persons of the ten splits': len(enough & in_splits),
    }
    where = os.path.abspath(os.path.expanduser(data.root))
    return contents.Contents(
        where, {'all': all_of_them}, counts, contents.folders(all_of_them, below=3), counted_from=1
    )


FACTS = facts.Facts(
    name='prid',
    about='PRID-2011 (Hirzer et al., SCIA 2011).',
    layout=LAYOUT,
    read=lambda data: read(data.root, split=int(data.split), persons=int(data.split_rule or 178)),
    protocol='prid',
    num_ids=89,
    # The data set's page at TU Graz; the two thresholds are those of the works that chose 178 and 183 persons.
    published={
        'persons of camera a': 385,
        'persons of camera b': 749,
        'persons in both cameras': 200,
        'persons with 21 or more frames in both': 183,
        'persons with 27 or more frames in both': 178,
        'of these, persons of the ten splits': 178,
    },
    whole=_count,
    groups=lambda data, tracklets: data.num_ids if tracklets >= 2 else None,  # two an identity
    num_splits=len(_TEST_OF_178),
    split_rules=(178, 200),  # persons, see `people`
    split_rules_setting='prid_persons',
)
