import pytest

from jaxreid import config
from jaxreid.data.datasets.clothes import vccr
from tests.fixtures import field_folders


@pytest.mark.parametrize('prefix', ['', 'VCCR/'])
def test_folders_cameras_and_outfits_are_read_and_frames_are_in_the_order_of_their_numbers(tmp_path, prefix):
    dataset = vccr.read(field_folders.vccr(tmp_path, prefix=prefix))
    assert [(one.name, one.pid, one.camera, one.attributes['outfit']) for one in (*dataset.train, *dataset.test)] == [
        ('train/0001/t1', 1, 1, '1'),
        ('train/0001/t2', 1, 3, '2'),
        ('test_qg/query/0201/C2/t1', 201, 2, '1'),
        ('test_qg/gallery/0201/C1/t1', 201, 1, '1'),
        ('test_qg/gallery/0201/C1/t2', 201, 1, '2'),
        ('test_qg/gallery/0202/C3/t1', 202, 3, '1'),
    ]
    assert dataset.query.tolist() == [True, False, False, False]
    assert [path.rpartition('-')[2] for path in dataset.train[0].frames] == ['F9.jpg', 'F10.jpg', 'F11.jpg']
    assert [path.rpartition('-')[2] for path in dataset.test[0].frames] == ['F98.jpg', 'F99.jpg', 'F100.jpg']


def test_counts_stand_beside_the_published_ones(tmp_path):
    held = vccr.FACTS.count(config.Data(dataset='vccr', root=str(field_folders.vccr(tmp_path))))
    assert (held.counts['ids'], held.counts['tracklets'], held.counts['outfits']) == (3, 6, 5)
    assert held.published == {'ids': 392, 'tracklets': 4384}


def test_a_tracklet_of_two_cameras_or_outfits_is_named(tmp_path):
    root = field_folders.vccr(tmp_path)
    frame = root / 'train/0001/t1/0001-C1-L1-F9.jpg'
    frame.rename(frame.with_name('0001-C1-L2-F9.jpg'))
    with pytest.raises(ValueError, match=r"camera and outfit \[\('1', '1'\), \('1', '2'\)\]"):
        vccr.read(root)


def test_other_names_and_missing_folders_are_named(tmp_path):
    root = field_folders.vccr(tmp_path)
    (root / 'train/0001/t1/0001C1L1F12.jpg').write_bytes(b'')
    with pytest.raises(ValueError, match='1 malformed frame names'):
        vccr.read(root)
    with pytest.raises(FileNotFoundError, match='no folder train, test_qg/query, test_qg/gallery'):
        vccr.read(root / 'train')
