import pytest

from jaxreid import config
from jaxreid.data import source
from jaxreid.data.datasets.clothes import ccvid
from tests.fixtures import field_folders


@pytest.mark.parametrize('prefix', ['', 'CCVID/'])
def test_lists_folders_cameras_and_outfits_are_read(tmp_path, prefix):
    root = field_folders.ccvid(tmp_path / 'my_data_7', prefix=prefix)
    dataset = ccvid.read(root)
    assert [(one.name, one.pid, one.camera, one.attributes['outfit'], len(one.frames)) for one in dataset.train] == [
        ('session1/001_01', 1, 1, 'u0_l0_s0_c0_a0', 3),
        ('session3/001_01', 1, 13, 'u1_l1_s0_c0_a0', 2),  # twelve more: another place than camera 1 of session 1
        ('session2/002_12', 2, 12, 'u0_l0_s0_c0_a0', 1),
    ]
    assert dataset.query.tolist() == [True] * 2 + [False] * 3
    assert (dataset.gallery == ~dataset.query).all()
    assert [one.camera for one in dataset.test] == [2, 2, 5, 14, 3]
    assert dataset.train[0].frames[0] == f'{prefix}session1/001_01/00001.jpg'


def test_a_folder_name_with_an_underscore_above_the_data_set_says_no_camera(tmp_path):
    """Code that cuts the whole path at underscores, or asks its first part for the session, gets other cameras."""
    one, other = (field_folders.ccvid(tmp_path / name / 'root') for name in ('session3_99', 'plain'))
    assert [t.camera for t in ccvid.read(one).test] == [t.camera for t in ccvid.read(other).test]


def test_one_label_of_two_people_is_two_outfits(tmp_path):
    held = ccvid.FACTS.count(config.Data(dataset='ccvid', root=str(field_folders.ccvid(tmp_path))))
    assert {k: held.counts[k] for k in ('outfits', 'train outfits', 'test outfits')} == {
        'outfits': 6, 'train outfits': 3, 'test outfits': 3,
    }  # fmt: skip
    assert {k: held.counts[k] for k in ('ids', 'tracklets', 'frames', 'query tracklets', 'gallery ids')} == {
        'ids': 4, 'tracklets': 8, 'frames': 18, 'query tracklets': 2, 'gallery ids': 2,
    }  # fmt: skip
    assert set(ccvid.FACTS.published) <= held.counts.keys()
    totals = ccvid.FACTS.published
    for what in ('tracklets', 'frames'):
        assert totals[what] == sum(totals[f'{part} {what}'] for part in ('train', 'query', 'gallery'))
    assert totals['ids'] == totals['train ids'] + totals['gallery ids']
    assert totals['outfits'] == totals['train outfits'] + totals['test outfits']


def test_the_config_scores_by_the_three_rules():
    from configs import ap3d_ccvid

    made = ap3d_ccvid.get_config()
    assert made.test.protocols == ('general', 'same-clothes', 'clothes-changing')
    assert made.data.num_ids == 75


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('session1/001_01 001\n', 'expected folder, person and outfit'),
        ('session4/001_01 001 u0\n', 'expected folder, person and outfit'),
        ('session1/001_01 one u0\n', 'expected folder, person and outfit'),
        ('session2/002_12 002 u0\n', 'names? the tracklet session2/002_12 twice'),
        ('session1/009_01 009 u0\n', 'there is no folder'),
    ],
)
def test_what_is_wrong_with_a_list_is_named(tmp_path, line, message):
    root = field_folders.ccvid(tmp_path)
    with open(root / 'gallery.txt', 'a') as file:
        file.write('\n' + line)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        source.read(config.Data(dataset='ccvid', root=str(root)))


def test_missing_lists_and_empty_folders_are_named(tmp_path):
    root = field_folders.ccvid(tmp_path)
    for path in (root / 'session1/076_05').iterdir():
        path.unlink()
    with pytest.raises(ValueError, match='holds no frames'):
        ccvid.read(root)
    (root / 'query.txt').unlink()
    with pytest.raises(FileNotFoundError, match=r'query\.txt or CCVID/query\.txt missing'):
        ccvid.read(root)
