import os
import random
import sys

import numpy as np
import pytest
import scipy.io

from jaxreid.data.datasets import mars
from tests.fixtures import listed_folder as listing_fixture
from tests.fixtures import mars_folder as mars_fixture
from tests.fixtures import public_tables


@pytest.fixture(scope='module')
def official(tmp_path_factory):
    """MARS as its folder is read: the public tables, names made of the tracklet prefixes, all frames in listings."""
    root = tmp_path_factory.mktemp('mars')
    (root / 'info').mkdir()
    public_tables.write_mars_info(root / 'info')
    paths = []
    for split in ('train', 'test'):
        names = [name for tracklet in public_tables.mars_names(split) for name in tracklet]
        (root / 'info' / f'{split}_name.txt').write_text('\r\n'.join(names))
        paths += [f'bbox_{split}/{name[:4]}/{name}' for name in names]
    with pytest.MonkeyPatch.context() as patch:
        listing_fixture.pretend(patch, root, paths)
        return mars.read(root)


@pytest.fixture(scope='module')
def expected():
    return public_tables.counts('mars', 'computed')


def _per_camera(tracklets):
    cameras = [tracklet.camera for tracklet in tracklets]
    return {str(camera): cameras.count(camera) for camera in sorted(set(cameras))}


def test_counts_of_the_training_split_are_those_of_the_public_tables(official, expected):
    train = official.train
    lengths = [len(tracklet.frames) for tracklet in train]
    cameras = {}
    for tracklet in train:
        cameras.setdefault(tracklet.pid, set()).add(tracklet.camera)
    assert {
        'train_tracklets': len(train),
        'train_ids': len(cameras),
        'train_frames': sum(lengths),
        'train_id_min': min(cameras),
        'train_id_max': max(cameras),
        'train_tracklets_per_camera': _per_camera(train),
        'train_ids_seen_by_one_camera': sum(len(seen) == 1 for seen in cameras.values()),
        'train_tracklet_len_min': min(lengths),
        'train_tracklet_len_max': max(lengths),
        'train_shorter_than': {str(n): sum(length < n for length in lengths) for n in (8, 16, 32)},
    }.items() <= expected.items()


def test_counts_of_the_test_split_are_those_of_the_public_tables(official, expected):
    test = official.test
    lengths = [len(tracklet.frames) for tracklet in test]
    positive = [tracklet for tracklet in test if tracklet.pid > 0]
    junk = [tracklet for tracklet in test if tracklet.pid == -1]
    distractors = [tracklet for tracklet in test if tracklet.pid == 0]
    assert {
        'test_tracklets': len(test),
        'test_frames': sum(lengths),
        'test_folders': len({tracklet.frames[0].split('/')[1] for tracklet in test}),
        'test_ids_positive': len({tracklet.pid for tracklet in positive}),
        'test_id_max': max(tracklet.pid for tracklet in test),
        'test_tracklets_per_camera': _per_camera(test),
        'test_tracklet_len_min': min(lengths),
        'test_tracklet_len_max': max(lengths),
        'junk_tracklets_id_minus1': len(junk),
        'junk_frames': sum(len(tracklet.frames) for tracklet in junk),
        'distractor_tracklets_id_0': len(distractors),
        'distractor_frames': sum(len(tracklet.frames) for tracklet in distractors),
        'positive_test_tracklets': len(positive),
        'train_test_shared_ids': len({t.pid for t in official.train} & {t.pid for t in test}),
        'test_shorter_than': {str(n): sum(length < n for length in lengths) for n in (8, 16, 32)},
    }.items() <= expected.items()


def test_counts_of_queries_and_gallery_are_those_of_the_public_tables(official, expected):
    test = official.test
    query = [test[row] for row in np.flatnonzero(official.query)]
    lengths = [len(tracklet.frames) for tracklet in query]
    rest = [tracklet for tracklet, is_query in zip(test, official.query, strict=True) if not is_query]
    ranked = [tracklet for tracklet in rest if tracklet.pid != -1]
    assert {
        'query': len(query),
        'query_ids': len({tracklet.pid for tracklet in query}),
        'query_frames': sum(lengths),
        'query_len_min': min(lengths),
        'query_len_max': max(lengths),
        'query_per_camera': _per_camera(query),
        'query_row_min': int(np.flatnonzero(official.query)[0]) + 1,
        'query_row_max': int(np.flatnonzero(official.query)[-1]) + 1,
        'test_minus_query': len(rest),
        'gallery_without_junk_and_query': len(ranked),
        'gallery_without_junk_and_query_frames': sum(len(tracklet.frames) for tracklet in ranked),
        'gallery_without_junk_with_query': sum(tracklet.pid != -1 for tracklet in test),
        'gallery_with_everything': int(official.gallery.sum()),
        'ids_only_in_query': sorted({t.pid for t in query} - {t.pid for t in ranked}),
    }.items() <= expected.items()


def test_index_of_mars_takes_less_than_300_mb(official):
    size = 0
    for tracklet in (*official.train, *official.test):
        size += sys.getsizeof(tracklet) + sys.getsizeof(tracklet.frames) + sys.getsizeof(tracklet.name)
        size += sum(map(sys.getsizeof, tracklet.frames))
    assert size < 300e6


def test_real_frame_names_with_a_gap_make_whole_tracklets(expected):
    # The ids whose names somebody has published.
    names = [n for tracklet in public_tables.mars_names('train') for n in tracklet if int(n[:4]) in (1, 3, 5, 7, 9)]
    rows, prefixes = [], []
    for number, name in enumerate(names, start=1):  # rows as the official table would have them
        if not prefixes or prefixes[-1] != name[:11]:
            prefixes.append(name[:11])
            rows.append([number, number, int(name[:4]), int(name[5])])
        rows[-1][1] = number
    dataset = mars.index(names, names, np.asarray(rows), np.asarray(rows), np.asarray([[1]], np.uint16))
    assert sum(len(tracklet.frames) for tracklet in dataset.train) == expected['sample_frame_names']
    assert len(dataset.train) == expected['sample_tracklets']
    with_gap = [t for t in dataset.train if int(t.frames[-1][-7:-4]) != len(t.frames)]
    assert [tracklet.name for tracklet in with_gap] == expected['sample_tracklets_with_gap_in_frame_numbers']
    assert len(with_gap[0].frames) == 36
    assert with_gap[0].frames[31:33] == (
        'bbox_train/0001/0001C2T0041F032.jpg',
        'bbox_train/0001/0001C2T0041F067.jpg',
    )


def _assert_is_the_fixture(dataset, *, folder='bbox_{}'):
    for split, tracklets, expected in (
        ('train', dataset.train, mars_fixture.TRAIN),
        ('test', dataset.test, mars_fixture.TEST),
    ):
        assert [(t.pid, t.camera, len(t.frames)) for t in tracklets] == list(expected)
        paths = [f'{folder.format(split, split)}/{name[:4]}/{name}' for name in mars_fixture.names(expected)]
        assert [frame for tracklet in tracklets for frame in tracklet.frames] == paths
        assert all(os.path.isfile(os.path.join(dataset.root, path)) for path in paths)
    assert np.flatnonzero(dataset.query).tolist() == list(mars_fixture.QUERY)
    assert dataset.gallery.all()
    assert dataset.query.dtype == dataset.gallery.dtype == bool


def test_reads_a_folder_with_junk_distractors_and_queries_in_the_gallery(tmp_path):
    dataset = mars.read(mars_fixture.write(tmp_path / 'mars'))
    _assert_is_the_fixture(dataset)
    assert dataset.test[0].frames[0] == 'bbox_test/00-1/00-1C1T0001F001.jpg'
    assert dataset.test[0].pid == -1


def test_tolerates_crlf_and_a_blank_line(tmp_path):
    root = mars_fixture.write(tmp_path / 'mars', newline='\r\n')
    with open(root / 'info' / 'train_name.txt', 'ab') as file:
        file.write(b'\r\n')
    _assert_is_the_fixture(mars.read(root))


def test_tolerates_doubled_folders(tmp_path):
    root = mars_fixture.write(tmp_path / 'mars', doubled=True)
    _assert_is_the_fixture(mars.read(root), folder='bbox_{}/bbox_{}')


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.int64, np.float64])
def test_query_rows_of_any_integer_type_are_counted_from_one(tmp_path, dtype):
    root = mars_fixture.write(tmp_path / 'mars', query=(0, 5), query_dtype=dtype)
    assert np.flatnonzero(mars.read(root).query).tolist() == [0, 5]


def test_order_of_the_name_list_does_not_matter(tmp_path):
    root = mars_fixture.write(tmp_path / 'mars')
    names = (root / 'info' / 'test_name.txt').read_text().split()
    random.Random(0).shuffle(names)
    (root / 'info' / 'test_name.txt').write_text('\n'.join(names))
    _assert_is_the_fixture(mars.read(root))


def test_files_that_no_list_names_are_ignored(tmp_path):
    root = mars_fixture.write(tmp_path / 'mars')
    (root / 'bbox_train' / '0001' / 'Thumbs.db').write_bytes(b'')
    (root / 'bbox_train' / '0001' / '0001C1T0001F900.jpg').write_bytes(b'')
    _assert_is_the_fixture(mars.read(root))


def test_reads_the_real_tracklets(shared):
    root = shared / 'real_tracklets' / 'mars'
    if not root.is_dir():
        pytest.skip('the real tracklets are not there')
    dataset = mars.read(root)
    assert {tracklet.pid for tracklet in dataset.train} == {1, 2, 3}
    assert {tracklet.pid for tracklet in dataset.test} == {4, 5, 6}
    assert (len(dataset.train), len(dataset.test), int(dataset.query.sum())) == (18, 16, 6)
    frames = sum(len(tracklet.frames) for tracklet in (*dataset.train, *dataset.test))
    assert frames == sum(1 for _ in root.rglob('*.jpg'))


def test_missing_root_says_where_it_looked_and_how_the_folder_must_look(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        mars.read(tmp_path / 'nowhere')
    assert str(tmp_path / 'nowhere') in str(error.value)
    assert 'bbox_train/<id>/*.jpg' in str(error.value)


def test_missing_info_files_are_all_named(tmp_path):
    root = mars_fixture.write(tmp_path / 'mars')
    (root / 'info' / 'query_IDX.mat').unlink()
    (root / 'info' / 'train_name.txt').unlink()
    with pytest.raises(FileNotFoundError, match=r'train_name.txt, query_IDX.mat missing: looked in .*info'):
        mars.read(root)


def test_missing_frames_are_counted_and_the_first_named(tmp_path):
    root = mars_fixture.write(tmp_path / 'mars')
    for frame in (2, 4, 5, 6):
        (root / 'bbox_train' / '0001' / f'0001C1T0001F{frame:03d}.jpg').unlink()
    with pytest.raises(FileNotFoundError) as error:
        mars.read(root)
    assert '4 of 73 frames' in str(error.value)
    assert 'bbox_train/0001/0001C1T0001F002.jpg, bbox_train/0001/0001C1T0001F004.jpg' in str(error.value)


def test_missing_folder_of_an_id_means_missing_frames(tmp_path):
    root = mars_fixture.write(tmp_path / 'mars')
    for path in (root / 'bbox_test' / '0004').iterdir():
        path.unlink()
    (root / 'bbox_test' / '0004').rmdir()
    with pytest.raises(FileNotFoundError, match=r'16 of 33 frames .* first bbox_test/0004/0004C2T0001F001.jpg'):
        mars.read(root)


@pytest.mark.parametrize('content', [b'no matlab file', b''])
def test_damaged_table_is_named(tmp_path, content):
    root = mars_fixture.write(tmp_path / 'mars')
    (root / 'info' / 'tracks_test_info.mat').write_bytes(content)
    with pytest.raises(ValueError, match=r'tracks_test_info.mat cannot be read as a MATLAB file'):
        mars.read(root)


def test_table_of_another_file_is_refused(tmp_path):
    root = mars_fixture.write(tmp_path / 'mars')
    scipy.io.savemat(root / 'info' / 'query_IDX.mat', {'something': np.ones((1, 2))})
    with pytest.raises(ValueError, match=r'query_IDX.mat has no variable query_IDX'):
        mars.read(root)


def _index(*, names=None, table=None, query=((1,),)):
    tracklets = ((1, 1, 3), (2, 2, 2))
    names = mars_fixture.names(tracklets) if names is None else names
    table = mars_fixture.table(tracklets) if table is None else np.asarray(table)
    return mars.index(names, names, table, table, np.asarray(query))


def test_consistent_names_and_tables_pass():
    assert len(_index().train) == 2


@pytest.mark.parametrize(
    'name',
    [
        '1C1T0001F001.jpg',
        '0001C7T0001F001.jpg',
        '0001C1T0001F001.png',
        '00-2C1T0001F001.jpg',
        '0001/0001C1T0001F001.jpg',
        '٠٠٠١C1T0001F001.jpg',
    ],
)
def test_malformed_names_are_shown(name):
    with pytest.raises(ValueError) as error:
        _index(names=[*mars_fixture.names(((1, 1, 3), (2, 2, 2))), name])
    assert '1 malformed frame names' in str(error.value)
    assert name in str(error.value)


@pytest.mark.parametrize(
    ('table', 'message'),
    [
        ([[1, 3, 1, 1], [4, 6, 2, 2]], 'row 2 covers frames 4 to 6'),
        ([[0, 3, 1, 1], [4, 5, 2, 2]], 'row 1 covers frames 0 to 3'),
        ([[1, 3, 1, 1], [5, 5, 2, 2]], 'row 2 covers frames 5 to 5'),
        ([[1, 3, 1, 1], [3, 5, 2, 2]], 'row 2 covers frames 3 to 5'),
        ([[1, 3, 1, 1], [4, 3, 2, 2], [4, 5, 2, 2]], 'row 2 covers frames 4 to 3'),
        ([[1, 3, 1, 1]], 'ends at frame 3, but the list has 5 names'),
        ([[1, 3, 9, 1], [4, 5, 2, 2]], 'row 1 is id 9, camera 1'),
        ([[1, 3, 1, 2], [4, 5, 2, 2]], 'row 1 is id 1, camera 2'),
        ([[1, 5, 1, 1]], 'row 1 is id 1, camera 1, frames 1 to 5'),
        ([[1, 1, 1, 1], [2, 3, 1, 1], [4, 5, 2, 2]], 'cuts one tracklet into several rows'),
        ([[1, 3, 1], [4, 5, 2]], r'shape \(2, 3\)'),
        ([[1, 3, 1, 1.5], [4, 5, 2, 2]], 'not whole numbers'),
    ],
)
def test_tables_that_do_not_fit_the_names_are_refused(table, message):
    with pytest.raises(ValueError, match=message):
        _index(table=table)


@pytest.mark.parametrize(('query', 'message'), [([[0]], 'row 0'), ([[3]], 'row 3'), ([[1, 1]], 'twice')])
def test_query_rows_outside_the_table_or_repeated_are_refused(query, message):
    with pytest.raises(ValueError, match=message):
        _index(query=query)


def test_repeated_names_are_refused():
    names = mars_fixture.names(((1, 1, 2), (2, 2, 2)))
    with pytest.raises(ValueError, match=r'0001C1T0001F002.jpg more than once'):
        _index(names=[*names, '0001C1T0001F002.jpg'])
