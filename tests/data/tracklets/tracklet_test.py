import numpy as np

from jaxreid.data.tracklets import tracklet


def _tracklet(pid):
    return tracklet.Tracklet(name='a', pid=pid, camera=1, frames=('a.jpg',))


def test_labels_count_the_sorted_person_ids_whatever_their_order():
    assert tracklet.label_map([_tracklet(pid) for pid in (9, 2, 1499, 2, 9)]) == {2: 0, 9: 1, 1499: 2}


def test_no_tracklets_have_no_labels():
    assert tracklet.label_map([]) == {}


def test_a_query_is_answerable_where_the_gallery_has_its_person_in_another_camera():
    rows = [  # pid, camera, query, gallery, answerable
        (1, 1, True, False, True),
        (1, 2, False, True, False),  # asks for nobody
        (2, 1, True, True, False),  # itself, and nobody else
        (3, 1, True, False, False),
        (3, 1, False, True, False),  # of the same camera
        (4, 1, True, False, False),
        (4, 2, False, False, False),  # not in the gallery
        (5, 1, True, True, True),
        (5, 2, True, True, True),
        (tracklet.JUNK_ID, 1, True, False, False),
        (tracklet.JUNK_ID, 2, False, True, False),  # junk is never ranked
    ]
    test = tuple(tracklet.Tracklet(str(row), pid, camera, ('x.jpg',)) for row, (pid, camera, *_) in enumerate(rows))
    query, gallery, expected = np.array([row[2:] for row in rows]).T
    dataset = tracklet.Dataset(root='', train=(), test=test, query=query, gallery=gallery)
    assert tracklet.answerable(dataset).tolist() == expected.tolist()
