"""The traps of the published data sets: which test falls when a reader, or an evaluation, walks into one.

`TRAPS` is the list: what is easily got wrong -> the tests that notice. Those that no other file has are below.
"""

import ast
import pathlib

import numpy as np
import pytest

from jaxreid import config
from jaxreid.data import source
from jaxreid.data.datasets import dukev, lsvid, mars
from jaxreid.data.synthetic import render
from jaxreid.data.tracklets import tracklet as tracklet_lib
from jaxreid.evaluation import protocols
from tests.fixtures import dukev_folder, field_folders, ilids_folder, lsvid_folder, prid_folder, public_tables
from tests.fixtures import listed_folder as listing_fixture
from tests.fixtures import mars_folder as mars_fixture
from tests.fixtures.ranked_rows import Rows

TESTS = pathlib.Path(__file__).resolve().parents[1]
TRAPS = {
    'MARS: query_IDX is uint16 and counts from 1: casting comes before subtracting': (
        'data/traps_test.py::test_row_0_of_unsigned_queries_does_not_wrap_around_to_another_row',
        'data/datasets/mars_test.py::test_query_rows_of_any_integer_type_are_counted_from_one',
    ),
    'MARS: name lists with CRLF': ('data/datasets/mars_test.py::test_tolerates_crlf_and_a_blank_line',),
    'MARS: folder = first four characters; 00-1 is id -1, 0000 is id 0': (
        'data/datasets/mars_test.py::test_reads_a_folder_with_junk_distractors_and_queries_in_the_gallery',
    ),
    'MARS: tracklet numbers run on over the cameras of an id, with holes': (
        'data/traps_test.py::test_tracklet_numbers_run_on_over_cameras_and_have_holes',
    ),
    'MARS: frame numbers have holes (0001C2T0041)': (
        'data/traps_test.py::test_frame_numbers_with_a_hole_lose_no_frame',
        'data/datasets/mars_test.py::test_real_frame_names_with_a_gap_make_whole_tracklets',
    ),
    'MARS: tables count the sorted names, 00-1 before 0000': (
        'data/datasets/mars_test.py::test_order_of_the_name_list_does_not_matter',
    ),
    'MARS: doubled folders': ('data/datasets/mars_test.py::test_tolerates_doubled_folders',),
    'MARS: list and folders need not agree': (
        'data/datasets/mars_test.py::test_files_that_no_list_names_are_ignored',
        'data/datasets/mars_test.py::test_missing_frames_are_counted_and_the_first_named',
    ),
    'MARS: the gallery is 11,310 with queries and 9,330 without, where 140 queries have no match': (
        'data/datasets/mars_test.py::test_counts_of_queries_and_gallery_are_those_of_the_public_tables',
        'data/traps_test.py::test_matches_under_both_gallery_rules_of_mars_are_those_of_the_public_tables',
        'evaluation/protocols_test.py::test_published_evaluators_agree_on_mars',
    ),
    'Duke: names of two formats': (
        'data/datasets/dukev_test.py::test_reads_new_and_old_names_and_the_folder_of_the_archive',
        'data/datasets/dukev_test.py::test_frames_stand_in_order_of_their_number_even_where_both_formats_are_mixed',
    ),
    'Duke: tracklets that start at F0002, ids up to 7140, a tracklet of one frame': (
        'data/datasets/dukev_test.py::test_reads_new_and_old_names_and_the_folder_of_the_archive',
        'data/datasets/dukev_test.py::test_counts_are_those_of_the_public_tables',
    ),
    'Duke: the gallery holds all queries again, and 408 ids of one camera': (
        'data/datasets/dukev_test.py::test_counts_are_those_of_the_public_tables',
        'data/traps_test.py::test_the_gallery_s_copy_of_a_query_of_duke_is_its_only_tracklet_of_that_camera',
        'evaluation/protocols_test.py::test_published_evaluators_agree_on_dukemtmc',
    ),
    'iLIDS-VID: splits count the sorted folders, whose numbers have gaps': (
        'data/datasets/ilids_test.py::test_splits_count_the_sorted_persons_from_one_and_have_the_published_sizes',
    ),
    'iLIDS-VID: the first half is the test half, for most': (
        'data/datasets/ilids_test.py::test_splits_count_the_sorted_persons_from_one_and_have_the_published_sizes',
        'data/datasets/ilids_test.py::test_halves_and_splits_differ',
    ),
    'iLIDS-VID: the stills in images/ are no tracklets': (
        'data/datasets/ilids_test.py::test_frames_stand_in_order_and_the_stills_are_not_read',
    ),
    'iLIDS-VID: a folder name with spaces': ('data/datasets/ilids_test.py::test_missing_folders_and_files_are_named',),
    'PRID-2011: from person 201 on, one number is two people': (
        'data/datasets/prid_test.py::test_query_is_camera_a_and_gallery_camera_b_of_the_tested_half',
    ),
    'PRID-2011: the 178 persons and their ten splits': (
        'data/datasets/prid_test.py::test_splits_of_178_persons_are_the_public_ones',
        'data/datasets/prid_test.py::test_counts_are_the_published_ones',
    ),
    'LS-VID: a prefix catches the frames of a longer one': (
        'data/datasets/lsvid_test.py::test_a_sequence_does_not_catch_the_frames_of_one_whose_name_goes_on',
    ),
    'LS-VID: MATLAB 7.3 is HDF5 and transposed; query counts from 1': (
        'data/datasets/matlab_test.py::test_tables_have_matlab_s_orientation_in_all_formats',
        'data/datasets/lsvid_test.py::test_the_validation_part_has_lists_of_its_own',
        'data/datasets/lsvid_test.py::test_queries_are_counted_from_one_whatever_their_type',
    ),
    'LS-VID: lists below info/ in some copies; the camera is the third field': (
        'data/datasets/lsvid_test.py::test_reads_lists_hdf5_tables_and_frames_in_both_layouts',
        'data/traps_test.py::test_a_copy_of_ls_vid_of_the_published_size_has_its_counts',
    ),
    'CCVID: cameras of session 3 are others; the path above the data set says nothing': (
        'data/datasets/clothes/ccvid_test.py::test_lists_folders_cameras_and_outfits_are_read',
        'data/datasets/clothes/ccvid_test.py::test_a_folder_name_with_an_underscore_above_the_data_set_says_no_camera',
    ),
    'CCVID: an outfit label counts the clothes of one person': (
        'data/datasets/clothes/ccvid_test.py::test_one_label_of_two_people_is_two_outfits',
        'evaluation/outfits_test.py::test_outfits_are_compared_inside_a_person_only',
    ),
    'VCCR: frame numbers have no leading zeros': (
        'data/datasets/clothes/vccr_test.py::test_folders_cameras_and_outfits_are_read_and_frames_are_in_the_order_of_their_numbers',
    ),
    'MEVID: tables count from 0, lists are not sorted, queries are no gallery, some rows are empty': (
        'data/datasets/clothes/mevid_test.py::test_lists_and_tables_are_read_from_line_0_on',
        'data/datasets/clothes/mevid_test.py::test_a_table_that_counts_from_1_is_noticed',
        'data/datasets/clothes/mevid_test.py::test_queries_name_lines_of_the_test_table_from_0',
    ),
    'G2A-VReID: as MARS, but queries are no gallery': (
        'data/datasets/drones/g2a_test.py::test_the_layout_is_that_of_mars_and_queries_are_no_gallery',
    ),
    'AG-VPReID, DetReIDX: a direction has its own queries and gallery; the camera is in the names': (
        'data/datasets/drones/cases_test.py::test_the_directions_of_ag_vpreid_have_their_own_queries_and_galleries',
        'data/datasets/drones/cases_test.py::test_the_directions_of_detreidx_are_three_and_flights_are_cameras',
    ),
    'all: the order in which folders are listed': (
        'data/traps_test.py::test_the_order_of_listings_changes_no_data_set',
        'data/datasets/dukev_test.py::test_the_order_in_which_folders_are_listed_does_not_matter',
        'data/datasets/ilids_test.py::test_the_order_in_which_folders_are_listed_does_not_matter',
        'data/datasets/prid_test.py::test_the_order_in_which_folders_are_listed_does_not_matter',
        'data/datasets/lsvid_test.py::test_the_order_in_which_folders_are_listed_does_not_matter',
        'data/datasets/manifest_test.py::test_the_order_in_which_folders_are_listed_does_not_matter',
    ),
    'all: class labels in the order of a set or of a listing': (
        'data/traps_test.py::test_class_labels_are_in_the_order_of_the_ids',
    ),
    'evaluation: same id and camera drop out, other people of that camera stay': (
        'evaluation/ordering/ranking_test.py::test_every_query_is_scored_as_by_walking_down_the_sorted_list',
        'evaluation/ordering/ranking_test.py::test_same_camera_copies_and_junk_in_front_do_not_move_a_match',
    ),
    'evaluation: id -1 drops out, id 0 stays as a distractor': (
        'data/traps_test.py::test_a_distractor_in_front_of_the_match_halves_the_score_and_junk_does_not',
        'evaluation/protocols_test.py::test_junk_features_do_not_matter_unless_junk_is_kept',
        'evaluation/protocols_test.py::test_every_rule_gives_the_score_of_the_loops',
    ),
    'evaluation: two rules of AP': ('evaluation/ordering/ranking_test.py::test_lists_scored_by_hand',),
}


def test_the_tests_that_the_list_names_exist():
    named = {name for names in TRAPS.values() for name in names}
    files = {name.partition('::')[0] for name in named}
    trees = {file: ast.parse((TESTS / file).read_text()) for file in files}
    there = {f'{file}::{n.name}' for file, tree in trees.items() for n in tree.body if isinstance(n, ast.FunctionDef)}
    assert named - there == set()


def table_of(names):
    """Rows as the official table would have them."""
    rows = []
    for number, name in enumerate(sorted(names), start=1):
        if not rows or sorted(names)[rows[-1][0] - 1][:11] != name[:11]:
            rows.append([number, number, -1 if name.startswith('00-1') else int(name[:4]), int(name[5])])
        rows[-1][1] = number
    return np.asarray(rows)


def test_row_0_of_unsigned_queries_does_not_wrap_around_to_another_row():
    names = mars_fixture.names(((1, 1, 1),) * 255)
    table = table_of(names)
    for dtype in (np.uint8, np.uint16):
        found = mars.index(names, names, table, table, np.array([[1, 255]], dtype)).query
        assert np.flatnonzero(found).tolist() == [0, 254]
        with pytest.raises(ValueError, match='query_IDX names row 0, but'):  # uint8: 0 - 1 is row 255, which exists
            mars.index(names, names, table, table, np.array([[0]], dtype))


def test_tracklet_numbers_run_on_over_cameras_and_have_holes():
    prefixes = ('0001C1T0001', '0001C1T0004', '0001C3T0005', '0001C3T0009', '0002C1T0002')
    names = [f'{prefix}F{frame:03d}.jpg' for prefix in prefixes for frame in (1, 2)]
    dataset = mars.index(names, names, table_of(names), table_of(names), np.array([[3]]))
    assert [(t.name, t.camera, len(t.frames)) for t in dataset.train] == [(p, int(p[5]), 2) for p in prefixes]
    assert [t.name for t, marked in zip(dataset.test, dataset.query) if marked] == ['0001C3T0005']


def test_frame_numbers_with_a_hole_lose_no_frame():
    names = [f'0001C2T0041F{frame:03d}.jpg' for frame in (*range(1, 33), *range(67, 71))]
    names += ['0003C1T0001F002.jpg', '0003C1T0001F003.jpg']
    (first, second) = mars.index(names, names, table_of(names), table_of(names), np.array([[1]])).train
    assert len(first.frames) == 36
    assert first.frames[31:33] == ('bbox_train/0001/0001C2T0041F032.jpg', 'bbox_train/0001/0001C2T0041F067.jpg')
    assert second.frames == ('bbox_train/0003/0003C1T0001F002.jpg', 'bbox_train/0003/0003C1T0001F003.jpg')


def test_matches_under_both_gallery_rules_of_mars_are_those_of_the_public_tables():
    expected = public_tables.counts('mars', 'computed')
    real = public_tables.mars('test')
    names = [frames[0] for frames in public_tables.mars_names('test')]  # a frame of each is enough
    rows = np.arange(1, len(names) + 1)
    table = np.stack([rows, rows, real[:, 2], real[:, 3]], 1)
    dataset = mars.index(names[:1], names, table[:1], table, public_tables.mars_query().astype(np.uint16)[None])
    query = [t for t, marked in zip(dataset.test, dataset.query, strict=True) if marked]
    rest = [t for t, marked in zip(dataset.test, dataset.query, strict=True) if not marked and t.pid != -1]
    assert dataset.gallery.all()

    def matches(gallery):
        cameras = {}
        for t in gallery:
            cameras.setdefault(t.pid, []).append(t.camera)
        return np.array([sum(camera != q.camera for camera in cameras.get(q.pid, [])) for q in query])

    without, with_queries = matches(rest), matches([*rest, *query])
    positive = {t.pid for t in rest} - {0}
    assert {
        'max_queries_per_id_and_camera': len(query) - len({(t.pid, t.camera) for t in query}) + 1,
        'gallery_without_junk_and_query': len(rest),
        'gallery_without_junk_with_query': len(rest) + len(query),
        'gallery_without_junk_and_query_positive_ids': len(positive),
        'gallery_without_junk_query_and_distractors': sum(t.pid > 0 for t in rest),
        'queries_without_good_match_in_9330': int((without == 0).sum()),
        'ids_of_those_queries': len({q.pid for q, count in zip(query, without) if not count}),
        'queries_evaluated_on_9330': int((without > 0).sum()),
        'good_matches_total_on_9330': int(without.sum()),
        'queries_without_good_match_in_11310': int((with_queries == 0).sum()),
        'good_matches_total_on_11310': int(with_queries.sum()),
        'good_matches_min_max_on_11310': [int(with_queries.min()), int(with_queries.max())],
        'positive_ids_only_in_gallery': sorted(positive - {t.pid for t in query}),
    }.items() <= expected.items()


def test_the_gallery_s_copy_of_a_query_of_duke_is_its_only_tracklet_of_that_camera():
    expected = public_tables.counts('dukev', 'computed')
    names = {
        f'{split}/{pid:04d}/{number:04d}': [dukev_folder.name(pid, camera, 1, 1)]
        for split in ('query', 'gallery')
        for pid, camera, number, _ in public_tables.dukev(split).tolist()
    }
    dataset = dukev.index(names)
    query = [t for t, marked in zip(dataset.test, dataset.query, strict=True) if marked]
    gallery = [t for t, marked in zip(dataset.test, dataset.gallery, strict=True) if marked]
    places = [(t.pid, t.camera) for t in gallery]
    same = {tuple([places.count((q.pid, q.camera)) for q in query])}
    assert same == {(expected['same_camera_gallery_tracklets_per_query'],) * expected['query']}
    assert len(places) / len(set(places)) == expected['tracklets_per_id_and_camera']


def test_a_copy_of_ls_vid_of_the_published_size_has_its_counts(tmp_path):
    """14,943 made-up sequences of one frame: the lists are not public."""
    expected = public_tables.counts('lsvid', 'published')
    sizes = {part: expected[f'{part}_ids'] for part in ('train', 'val', 'test')}
    more = expected['tracklets'] - 3 * expected['ids']  # three tracklets each, and some have four
    pid, lines = 0, {part: [] for part in sizes}
    for part, ids in sizes.items():
        for _ in range(ids):
            pid += 1
            for number in range(3 + (pid <= more)):
                camera = (pid + number) % expected['cameras'] + 1
                lines[part].append(f'tracklet_{part}/{pid:04d}_{number:02d}_{camera:02d} {pid}')
    listing_fixture.touch(tmp_path, [f'{row.split()[0]}_000001.jpg' for rows in lines.values() for row in rows])
    (tmp_path / 'info' / 'list_sequence').mkdir(parents=True)
    for part, rows in lines.items():
        (tmp_path / 'info' / 'list_sequence' / f'list_seq_{part}.txt').write_text('\n'.join(rows))
    for part in ('val', 'test'):
        path = tmp_path / 'info' / 'data' / f'info_{part}.mat'
        lsvid_folder.write_table(path, [1, len(lines[part])], rows=len(lines[part]), info=f'info_{part}')
    test, val = lsvid.read(tmp_path), lsvid.read(tmp_path, part='val')
    everyone = (*test.train, *test.test, *val.test)
    assert np.flatnonzero(test.query).tolist() == [0, len(lines['test']) - 1]
    assert {
        'ids': len({t.pid for t in everyone}),
        'tracklets': len(everyone),
        'cameras': len({t.camera for t in everyone}),
        'train_ids': len({t.pid for t in test.train}),
        'val_ids': len({t.pid for t in val.test}),
        'test_ids': len({t.pid for t in test.test}),
    }.items() <= expected.items()
    assert val.train == test.train


def settings(dataset, root):
    """Writes a data set that has images, and says how it is read."""
    match dataset:
        case 'mars' | 'synthetic':  # what is rendered is read as MARS
            mars_fixture.write(root)
        case 'dukev':
            dukev_folder.write(root)
        case 'ilids':
            ilids_folder.write(root)
            listing_fixture.draw(root, ilids_folder.paths(ilids_folder.FEW))
        case 'prid':
            for camera in 'ab':
                listing_fixture.touch(root, prid_folder.paths(camera, range(1, 204), frames=(1, 2, 10)))
        case 'lsvid':
            lsvid_folder.write(root, draw=True)
        case new if new in field_folders.WRITERS:
            field_folders.WRITERS[new](root)
        case 'manifest':
            listing_fixture.draw(root, [f'{folder}/{n}.jpg' for folder in 'abc' for n in (1, 2, 10, 9)])
            rows = ('tracklet,pid,camera,role,folder,glob', 'a,1,1,train,a,', 'b,2,1,query,,b/*.jpg')
            (root / 'own.csv').write_text('\n'.join([*rows, 'c,2,2,gallery,,c/[0-9]*.jpg']))
            root = root / 'own.csv'
    return config.Data(dataset=dataset, root=str(root), height=16, width=8)


@pytest.mark.parametrize('dataset', config.DATASETS)
def test_the_order_of_listings_changes_no_data_set(tmp_path, dataset, monkeypatch):
    (tmp_path / 'data').mkdir()
    data = settings(dataset, tmp_path / 'data')
    monkeypatch.setattr(render, 'ensure', lambda root, preset: root)
    expected = source.read(data)
    assert sum(len(t.frames) for t in (*expected.train, *expected.test)) >= 12
    for tracklet in (*expected.train, *expected.test):
        numbers = [[int(n) for n in ''.join(c if c.isdigit() else ' ' for c in f).split()] for f in tracklet.frames]
        assert dataset == 'dukev' or numbers == sorted(numbers)  # Duke's video frames may run backwards
    for seed in range(3):
        with monkeypatch.context() as patch:
            listing_fixture.shuffle(patch, seed)
            assert listing_fixture.same(source.read(data), expected)


@pytest.mark.parametrize('name', ['mars-paper', 'mars-official', 'torchreid', 'dukev', 'lsvid'])
def test_a_distractor_in_front_of_the_match_halves_the_score_and_junk_does_not(name):
    rows = ((1, 1), (-1, 2), (0, 3), (1, 2), (5, 1))  # the query; junk and a distractor nearer than the match
    pid, camera = np.array(rows).T
    embedding = np.array([[1, 0], [1, 0.1], [1, 0.2], [1, 0.3], [1, 9]], np.float32)
    query = np.arange(5) == 0
    found = protocols.score(Rows(embedding, pid, camera, query, np.ones(5, bool)), protocols.named(name))
    assert (found['cmc']['1'], found['cmc']['5']) == (0, 100)
    np.testing.assert_allclose(found['mAP'], 25 if name == 'mars-official' else 50)  # trapezoid: (0 + 1/2) / 2


def test_class_labels_are_in_the_order_of_the_ids():
    ids = [7, 3, 1499, 3, 64, 1024, 9]
    train = [tracklet_lib.Tracklet(f't{row}', pid, 1, (f'{row}.jpg',)) for row, pid in enumerate(ids)]
    expected = {3: 0, 7: 1, 9: 2, 64: 3, 1024: 4, 1499: 5}
    for tracklets in (train, train[::-1]):
        assert list(tracklet_lib.label_map(tracklets).items()) == list(expected.items())
