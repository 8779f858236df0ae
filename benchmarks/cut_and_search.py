"""How often the right person comes first when tracklets are cut from videos of two cameras and searched for.

    python -m benchmarks.cut_and_search runs/strf_synthetic

Renders a video per camera with people whom the checkpoint was not trained on (the test people of `demo`), cuts both
with `jaxreid.from_video`, and searches the tracklets of the first in those of the second. Who a tracklet shows is read
off the boxes that were drawn.
"""

import argparse
import json
import pathlib
import tempfile

import numpy as np

from benchmarks import mars_size
from jaxreid.data.synthetic import plan as synthetic_plan
from jaxreid.from_video import cut, mot_file, track
from jaxreid.search import __main__ as search
from tests.fixtures import rendered_video

EVERY = 50  # frames from one walker to the next; a walk takes about 65, so that many meet


def video(folder, name, people, scene, direction):
    """Cuts a rendered video; returns its manifest and, per tracklet, who it shows and the share of crops that do."""
    walks = [(row, EVERY * i, direction * (1 if i % 2 else -1)) for i, row in enumerate(people)]
    truth = rendered_video.write(folder / f'{name}.avi', walks, frames=EVERY * len(people) + 80, scene=scene)
    made = cut.cut(folder / f'{name}.avi', folder / name)
    boxes, _ = mot_file.read(folder / name / cut.TRACKS)
    votes: dict[str, list[int]] = {}
    for frame, in_frame in boxes.items():
        seen = [(i, walk[frame]) for i, walk in enumerate(truth) if frame in walk]
        for number, box in zip(*in_frame, strict=True):
            overlap = track.overlaps(box[None], np.array([b for _, b in seen], float))[0]
            votes.setdefault(f'{name}/{number:04d}', []).append(int(people[seen[int(overlap.argmax())][0]]))
    owners = {}
    for tracklet, who in votes.items():
        people_seen, counts = np.unique(who, return_counts=True)
        owners[tracklet] = int(people_seen[counts.argmax()]), float(counts.max() / counts.sum())
    return made.manifest, owners


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoints', nargs='+')
    parser.add_argument('--people', type=int, default=30)
    options = parser.parse_args()
    plan = synthetic_plan.make_plan(synthetic_plan.PRESETS['demo'])
    tested = [row for identity, row in sorted(plan.identities.items()) if identity > plan.preset.train_ids]
    people = tested[: options.people]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        door, door_owners = video(folder, 'door', people, 1, 1)
        yard, yard_owners = video(folder, 'yard', people[::-1], 2, 1)
        rows = [row(one, folder, door, yard, door_owners, yard_owners) for one in options.checkpoints]
    for one in rows:
        print(one)
    print(mars_size.write('cut_and_search', rows))


def row(checkpoint, folder, door, yard, door_owners, yard_owners):
    """What a checkpoint finds."""
    path = folder / 'found.json'
    assert search.run([str(yard), str(door), f'--checkpoint={checkpoint}', f'--json={path}', '--top=5']) == 0
    present = {who for who, _ in yard_owners.values()}
    lists = [
        [yard_owners[hit['name']][0] == door_owners[one['name']][0] for hit in one['hits']]
        for one in json.loads(path.read_text())['results']
        if door_owners[one['name']][0] in present
    ]
    both = door_owners, yard_owners
    return {
        'checkpoint': pathlib.Path(checkpoint).name,
        'tracklets': [len(owners) for owners in both],
        'people_with_a_tracklet': [len({who for who, _ in owners.values()}) for owners in both],
        'crops_of_the_right_person': float(np.mean([share for owners in both for _, share in owners.values()])),
        'queries': len(lists),
        'right_first': sum(hits[0] for hits in lists),
        'right_among_five': sum(any(hits) for hits in lists),
    }


if __name__ == '__main__':
    main()
