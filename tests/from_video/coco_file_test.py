"""COCO JSON of videos, as its several writers count frames and name tracks."""

import json

import numpy as np
import pytest

from jaxreid.from_video import coco_file


def written(path, *, videos=('door',), first=0, frame='frame_id', track='track_id', change=lambda held: None):
    """Two people and a dog in two frames of every video."""
    images, annotations = [], []
    for number, _ in enumerate(videos):
        for i in range(2):
            images.append({'id': 10 * number + i, 'video_id': number, frame: first + i, 'file_name': f'{i}.jpg'})
            for person in range(3):
                one = {'id': len(annotations), 'image_id': images[-1]['id'], 'category_id': 1 + person // 2}
                one['bbox'] = [100 * number + 10 * person + i, 5.5, 20, 40]
                annotations.append(one | ({track: 7 + person} if track else {}))
    held = {
        'videos': [{'id': number, 'name': f'seen/{name}.mp4'} for number, name in enumerate(videos)],
        'images': images,
        'annotations': annotations,
        'categories': [{'id': 1, 'name': 'pedestrian'}, {'id': 2, 'name': 'dog'}],
    }
    change(held)
    path.write_text(json.dumps(held))
    return path


@pytest.mark.parametrize('first', [0, 1])
@pytest.mark.parametrize(('frame', 'track'), [('frame_id', 'instance_id'), ('frame_index', 'track_id')])
def test_people_have_the_same_frames_and_tracks_however_they_are_called(tmp_path, first, frame, track):
    path = written(tmp_path / 'a.json', first=first, frame=frame, track=track)
    boxes, tracked = coco_file.read(path, 'door')
    assert tracked
    assert {number: one.ids for number, one in boxes.items()} == {1: [7, 8], 2: [7, 8]}
    np.testing.assert_array_equal(boxes[2].boxes, [[1, 5.5, 20, 40], [11, 5.5, 20, 40]])


def test_of_several_videos_the_one_of_the_name_is_taken(tmp_path):
    path = written(tmp_path / 'a.json', videos=('door', 'yard'))
    assert coco_file.read(path, 'yard')[0][1].boxes[0, 0] == 100
    with pytest.raises(ValueError, match=r'a\.json is of seen/door\.mp4, seen/yard\.mp4, not of roof'):
        coco_file.read(path, 'roof')


def test_boxes_without_tracks_are_detections_of_a_confidence(tmp_path):
    def scored(held):
        for place, one in enumerate(held['annotations']):
            one['score'] = 0.2 * place

    path = written(tmp_path / 'a.json', track='', change=scored)
    boxes, tracked = coco_file.read(path, 'door', min_confidence=0.15)
    assert not tracked
    assert {number: one.ids for number, one in boxes.items()} == {1: [-1], 2: [-1, -1]}


def test_crowds_are_left_out_and_counted(tmp_path):
    path = written(tmp_path / 'a.json', change=lambda held: held['annotations'][0].update(iscrowd=1))
    with pytest.warns(UserWarning, match=r'a\.json: 1 of 4 boxes are left out, which are crowds or ignored'):
        boxes, _ = coco_file.read(path, 'door')
    assert boxes[1].ids == [8]


def shares(held):
    for one in held['annotations']:
        one['bbox'] = [0.1, 0.1, 0.2, 0.4]


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda held: held.pop('images'), 'lacks images; expected COCO JSON with images'),
        (lambda held: held['images'][1].pop('frame_id'), '1 of 2 images say no frame_id'),
        (lambda held: held['annotations'][4].pop('track_id'), 'both boxes with a track_id and boxes without'),
        (lambda held: held['annotations'][1].update(track_id=7), 'track 7 is in frame 1 twice'),
        (lambda held: held['annotations'][1].update(bbox=[1, 2, 0, 4]), 'track 8 with the box'),
        (lambda held: held['annotations'][1].update(bbox=[1, 2, 'x', 4]), "is a text, 'x', expected a number"),
        (lambda held: held['categories'][0].update(name='cat'), 'has boxes of cat, dog, and of no person'),
        (lambda held: held.update(annotations=[]), 'has no boxes of people in door'),
        (shares, 'look like shares of the image'),
    ],
)
def test_what_is_no_such_file_is_refused_with_what_was_found(tmp_path, change, message):
    with pytest.raises(ValueError, match=rf'a\.json.*{message}'):
        coco_file.read(written(tmp_path / 'a.json', change=change), 'door')
