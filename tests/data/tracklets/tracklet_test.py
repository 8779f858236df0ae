from jaxreid.data.tracklets import tracklet


def _tracklet(pid):
    return tracklet.Tracklet(name='a', pid=pid, camera=1, frames=('a.jpg',))


def test_labels_count_the_sorted_person_ids_whatever_their_order():
    assert tracklet.label_map([_tracklet(pid) for pid in (9, 2, 1499, 2, 9)]) == {2: 0, 9: 1, 1499: 2}


def test_no_tracklets_have_no_labels():
    assert tracklet.label_map([]) == {}
