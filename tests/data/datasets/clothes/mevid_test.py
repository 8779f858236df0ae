import numpy as np
import pytest

from jaxreid import config
from jaxreid.data.datasets.clothes import mevid
from tests.fixtures import field_folders


@pytest.mark.parametrize(('prefix', 'info'), [('', ''), ('', 'mevid-v1-annotation-data'), ('mevid/', '')])
def test_lists_and_tables_are_read_from_line_0_on(tmp_path, prefix, info):
    dataset = mevid.read(field_folders.mevid(tmp_path, prefix=prefix, info=info))
    expected = [(pid, camera, str(outfit), count) for _, pid, outfit, camera, _, count, _ in field_folders.MEVID]
    both = (*dataset.train, *dataset.test)
    assert [(one.pid, one.camera, one.attributes['outfit'], len(one.frames)) for one in both] == expected
    assert dataset.query.tolist() == [True, False, False, False]
    assert (dataset.gallery == ~dataset.query).all()  # as the README says; MARS keeps its queries
    assert dataset.train[0].frames[-1] == f'{prefix}bbox_train/0103/0103O000C424T000F00002.jpg'  # the last one belongs
    assert dataset.train[0].name == '0103O000C424T000F00000'


def test_counts_are_those_of_the_readme(tmp_path):
    held = mevid.FACTS.count(config.Data(dataset='mevid', root=str(field_folders.mevid(tmp_path))))
    assert {k: held.counts[k] for k in mevid.FACTS.published} == {
        'ids': 4, 'tracklets': 7, 'outfits': 6, 'cameras': 3, 'train ids': 2, 'train tracklets': 3,
        'train outfits': 3, 'test ids': 2, 'test tracklets': 4, 'test outfits': 3,
    }  # fmt: skip
    totals = mevid.FACTS.published
    for what in ('ids', 'tracklets', 'outfits'):
        assert totals[what] == totals[f'train {what}'] + totals[f'test {what}']


def test_a_table_that_counts_from_1_is_noticed(tmp_path):
    root = field_folders.mevid(tmp_path)
    rows = np.loadtxt(root / 'track_train_info.txt')
    rows[:, :2] += 1
    np.savetxt(root / 'track_train_info.txt', rows)
    with pytest.raises(ValueError, match='list and table are not of one data set, or are counted from 1'):
        mevid.read(root)
    np.savetxt(root / 'track_train_info.txt', rows[:, :4])
    with pytest.raises(ValueError, match='has 4 columns; expected 5'):
        mevid.read(root)
    (root / 'track_train_info.txt').write_text('first last\n')
    with pytest.raises(ValueError, match='is no table of numbers'):
        mevid.read(root)


def test_queries_name_lines_of_the_test_table_from_0(tmp_path):
    root = field_folders.mevid(tmp_path)
    (root / 'query_IDX.txt').write_text('1\n3\n')
    assert mevid.read(root).query.tolist() == [False, True, False, True]
    (root / 'query_IDX.txt').write_text('5\n')
    with pytest.raises(ValueError, match='query_IDX'):
        mevid.read(root)


def test_missing_frames_and_lists_are_named(tmp_path):
    root = field_folders.mevid(tmp_path)
    (root / 'bbox_test/0201/0201O003C505T000F00001.jpg').unlink()
    with pytest.raises(FileNotFoundError, match='0201O003C505T000F00001'):
        mevid.read(root)
    (root / 'test_name.txt').unlink()
    with pytest.raises(FileNotFoundError, match='mevid-v1-annotation-data/test_name'):
        mevid.read(root)


@pytest.mark.parametrize(
    'name', ['0201O003C330T004F../../../x.jpg', '0201O003C330T004F00001.png', '0202O003C330T004F00001.jpg']
)
def test_a_name_that_is_none_or_of_somebody_else_stops_the_reader(tmp_path, name):
    root = field_folders.mevid(tmp_path)
    names = (root / 'test_name.txt').read_text().split()
    (root / 'test_name.txt').write_text('\n'.join([names[0], name, *names[2:]]))
    with pytest.raises(ValueError, match='line 1 is id 201, names 0 to 1'):
        mevid.read(root)


def test_tables_of_nothing_are_refused_or_hold_nothing(tmp_path):
    root = field_folders.mevid(tmp_path)
    (root / 'track_test_info.txt').write_text('3 2 201 3 330\n')
    (root / 'query_IDX.txt').write_text('0\n')
    assert mevid.read(root).test == ()
    rows = (root / 'track_train_info.txt').read_text().replace('1.030000000000000000e+02', 'nan')
    (root / 'track_train_info.txt').write_text(rows)
    with pytest.raises(ValueError, match='track_train_info'):
        mevid.read(root)
