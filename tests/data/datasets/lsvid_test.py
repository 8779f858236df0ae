import h5py
import numpy as np
import pytest
import scipy.io

from jaxreid import config
from jaxreid.data import source
from jaxreid.data.datasets import lsvid
from tests.fixtures import listed_folder as listing_fixture
from tests.fixtures import lsvid_folder


def assert_is_the_fixture(dataset, *, test=lsvid_folder.TEST, query=(False, True, False, True)):
    for tracklets, expected in ((dataset.train, lsvid_folder.TRAIN), (dataset.test, test)):
        assert [(t.name, t.pid, len(t.frames)) for t in tracklets] == [(p, i, len(n)) for p, i, n in expected]
        assert [frame for t in tracklets for frame in t.frames] == lsvid_folder.frames(expected)
        assert [t.camera for t in tracklets] == [int(path.split('_')[-1]) for path, _, _ in expected]
    assert dataset.query.tolist() == list(query)
    assert dataset.gallery.tolist() == [True] * len(test)  # queries stay in
    assert dataset.query.dtype == dataset.gallery.dtype == bool


@pytest.mark.parametrize('info', ['', 'info/'])
def test_reads_lists_hdf5_tables_and_frames_in_both_layouts(tmp_path, info):
    assert_is_the_fixture(lsvid.read(lsvid_folder.write(tmp_path, info=info)))


def test_a_sequence_does_not_catch_the_frames_of_one_whose_name_goes_on(tmp_path):
    dataset = lsvid.read(lsvid_folder.write(tmp_path))
    assert [(t.camera, len(t.frames)) for t in dataset.train[:2]] == [(1, 2), (15, 3)]


@pytest.mark.parametrize('dtype', [np.uint16, np.int64, np.float64])
def test_queries_are_counted_from_one_whatever_their_type(tmp_path, dtype):
    root = lsvid_folder.write(tmp_path)
    lsvid_folder.write_table(root / 'test' / 'data' / 'info_test.mat', [1, 4], dtype=dtype)
    assert np.flatnonzero(lsvid.read(root).query).tolist() == [0, 3]


def test_the_validation_part_has_lists_of_its_own(tmp_path):
    root = lsvid_folder.write(tmp_path)
    assert_is_the_fixture(lsvid.read(root, part='val'), test=lsvid_folder.VAL, query=(True, False))
    data = config.Data(dataset='lsvid', root=str(root), part='validation')
    assert_is_the_fixture(source.read(data), test=lsvid_folder.VAL, query=(True, False))


def test_frames_can_be_read_through_the_config(tmp_path):
    data = config.Data(dataset='lsvid', root=str(lsvid_folder.write(tmp_path, draw=True)), height=16, width=8)
    dataset = source.read(data)
    assert source.store(data, dataset, split='test').read(2, np.array([2, 0])).shape == (2, 16, 8, 3)


def test_the_order_in_which_folders_are_listed_does_not_matter(tmp_path, monkeypatch):
    lsvid_folder.write(tmp_path)
    expected = lsvid.read(tmp_path)
    for seed in range(5):
        with monkeypatch.context() as patch:
            listing_fixture.shuffle(patch, seed)
            assert listing_fixture.same(lsvid.read(tmp_path), expected)


def test_lists_with_crlf_blank_lines_and_junk_are_understood(tmp_path):
    root = lsvid_folder.write(tmp_path)
    listing_fixture.touch(root, ['tracklet_train/0000/0000_01_07_000001.jpg', 'tracklet_train/0001/Thumbs.db'])
    lines = [f'./{path}_ {pid}' for path, pid, _ in lsvid_folder.TRAIN] + ['', 'tracklet_train/0000/0000_01_07 -1']
    (root / 'list_sequence' / 'list_seq_train.txt').write_bytes('\r\n'.join(lines).encode())
    dataset = lsvid.read(root)
    assert [t.pid for t in dataset.train] == [1, 1, 4]  # nobody is trained on junk
    assert [frame for t in dataset.train for frame in t.frames] == lsvid_folder.frames(lsvid_folder.TRAIN)


def test_missing_folders_and_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'No LS-VID dataset at .*nowhere: .*list_seq_train.txt'):
        lsvid.read(tmp_path / 'nowhere')
    (tmp_path / 'x').mkdir()
    with pytest.raises(
        FileNotFoundError, match=r'list_sequence/list_seq_train.txt or info/list_.* missing in .*found x\.'
    ):
        lsvid.read(tmp_path)
    root = lsvid_folder.write(tmp_path)
    (root / 'test' / 'data' / 'info_test.mat').unlink()
    with pytest.raises(FileNotFoundError, match=r'test/data/info_test.mat or info/data/info_test.mat missing'):
        lsvid.read(root)


def test_a_sequence_without_frames_is_named(tmp_path):
    root = lsvid_folder.write(tmp_path)
    for path in (root / 'tracklet_train' / '0004').iterdir():
        path.unlink()
    message = r'list_seq_train.txt names tracklet_train/0004/0004_02_03, but .*0004_02_03_\* \(0 files'
    with pytest.raises(ValueError, match=message):
        lsvid.read(root)
    (root / 'tracklet_train' / '0004').rmdir()
    with pytest.raises(ValueError, match=message):
        lsvid.read(root)


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        (
            'tracklet_train/0001/0001_01_15',
            r'list_seq_train.txt line 4 is .*; expected the path of a sequence and an id',
        ),
        ('tracklet_train/0001/0001_01_15 one', r'line 4 is .*one'),
        ('tracklet_train/0001/0001_01_15 1 2', r'line 4 is .*1 2'),
        ('../elsewhere/0001_01_15 1', r"line 4 names '\.\./elsewhere.* inside the data set folder"),
        ('/etc/0001_01_15 1', r"line 4 names '/etc"),
        ('tracklet_train/00\0/0001_01_15 1', r"line 4 names 'tracklet_train/00.x00/"),
        ('tracklet_train/0001/ 1', r"line 4 names 'tracklet_train/0001/'"),
        ('tracklet_train/0001/0001_01_15 1', r'names tracklet_train/0001/0001_01_15 and .*, which share frames'),
        ('tracklet_test/0003/0003_01_02 3', r'1 sequences are in .*train.txt and in .*test.txt, such as .*0003_01_02'),
        ('tracklet_train/0006/0006_01 6', r'0006_01_\* has cameras \[3, 4\] in the third field'),
        ('tracklet_train/0007/0007_01_16 7', r'0007_01_16_\* has cameras \[16\] .* expected one of 1 to 15'),
        ('tracklet_train/0008/0008_01 8', r'malformed frame names in .*0008_01_\*.*0008_01_3_1_9.jpg'),
        ('tracklet_train/0009/0009_01_03 9', r'0009_01_03_\* holds frame 9 twice'),
    ],
)
def test_malformed_lines_and_names_are_shown(tmp_path, line, message):
    root = lsvid_folder.write(tmp_path)
    extra = ('0006/0006_01_03_1', '0006/0006_01_04_1', '0007/0007_01_16_1', '0008/0008_01_3_1_9')
    extra += ('0009/0009_01_03_9', '0009/0009_01_03_0009')
    listing_fixture.touch(root, [f'tracklet_train/{name}.jpg' for name in extra])
    with open(root / 'list_sequence' / 'list_seq_train.txt', 'a') as file:
        file.write(line + '\n')
    with pytest.raises(ValueError, match=message):
        lsvid.read(root)


def test_an_empty_list_is_refused(tmp_path):
    root = lsvid_folder.write(tmp_path)
    (root / 'list_sequence' / 'list_seq_test.txt').write_text('\n')
    with pytest.raises(ValueError, match=r'list_seq_test.txt names no sequence'):
        lsvid.read(root)


@pytest.mark.parametrize(
    ('query', 'message'),
    [
        ([0], r'names line 0, but .*list_seq_test.txt has lines 1 to 4'),
        ([5], r'names line 5'),
        ([2, 2], r'names a line twice'),
        ([1.5], r'query of .*info_test.mat holds float64 values that are not whole'),
        ([], r'query of .*info_test.mat has shape \(0, 1\)'),
    ],
)
def test_queries_outside_the_list_or_repeated_are_refused(tmp_path, query, message):
    root = lsvid_folder.write(tmp_path)
    lsvid_folder.write_table(root / 'test' / 'data' / 'info_test.mat', query)
    with pytest.raises(ValueError, match=message):
        lsvid.read(root)


def test_a_table_that_belongs_to_another_list_is_refused(tmp_path):
    root = lsvid_folder.write(tmp_path)
    lsvid_folder.write_table(root / 'test' / 'data' / 'info_test.mat', [1], rows=9)
    with pytest.raises(ValueError, match=r'info_test of .* has shape \(9, 4\), but .*test.txt names 4 sequences'):
        lsvid.read(root)


def test_damaged_and_strange_tables_are_named(tmp_path):
    root = lsvid_folder.write(tmp_path)
    table = root / 'test' / 'data' / 'info_test.mat'
    good = table.read_bytes()
    for content in (b'', b'no matlab file', good[:300], good[:700]):
        table.write_bytes(content)
        with pytest.raises(ValueError, match=r'info_test.mat (cannot be read as a MATLAB file|has no variable query)'):
            lsvid.read(root)
    with h5py.File(table, 'w') as file:
        file['other'] = np.ones(3)
        file.create_group('query')
    with pytest.raises(ValueError, match=r'info_test.mat has no variable query'):
        lsvid.read(root)
    with h5py.File(table, 'w') as file:
        file['query'] = np.ones((2, 2))
    with pytest.raises(ValueError, match=r'query of .* has shape \(2, 2\); expected one row or column'):
        lsvid.read(root)


def test_a_table_saved_again_in_the_old_format_is_read_as_well(tmp_path):
    root = lsvid_folder.write(tmp_path)
    scipy.io.savemat(root / 'test' / 'data' / 'info_test.mat', {'query': np.array([[2], [4]], np.uint16)})
    assert_is_the_fixture(lsvid.read(root))


def test_unknown_parts_are_refused(tmp_path):
    with pytest.raises(ValueError, match="part is 'train'"):
        lsvid.read(tmp_path, part='train')


def test_damaged_lists_and_tables_give_an_error_with_the_folder_s_name_and_no_other(tmp_path):
    root = lsvid_folder.write(tmp_path)
    rng = np.random.default_rng(0)
    refused = 0
    for path in (root / 'list_sequence' / 'list_seq_train.txt', root / 'test' / 'data' / 'info_test.mat'):
        good = path.read_bytes()
        for _ in range(200):
            damaged = bytearray(good)
            for place in rng.integers(0, len(good), 3):
                damaged[place] = rng.integers(256)
            path.write_bytes(damaged)
            problem = ''
            try:
                lsvid.read(root)
            except (ValueError, OSError) as error:
                problem = str(error)
            assert not problem or str(root) in problem
            refused += bool(problem)
        path.write_bytes(good)
    assert refused > 150
