"""What happened to every tracklet of the rendered benchmark, from its plan: the columns of `info/attributes.csv`."""

import csv
import pathlib

import numpy as np

from jaxreid.data.synthetic import plan as plan_lib

HIDDEN = 0.5  # a frame of whose joints so many are behind something counts as occluded
PATH = pathlib.Path('info') / 'attributes.csv'


def occluded_frames(body: plan_lib.Layout) -> np.ndarray:
    """[F] bool, frames in which at least `HIDDEN` of the joints are behind something."""
    return body.hidden.mean(1) >= HIDDEN


def striped_frames(plan: plan_lib.Plan, tracklet: plan_lib.Walk, body: plan_lib.Layout) -> np.ndarray:
    """[F] bool, frames in which a board hides its quarter of the crop."""
    return (np.abs(body.occluder_x / plan.preset.width - 0.5) < 0.5) & (tracklet.stripe > 0)


def of(plan: plan_lib.Plan, tracklet: plan_lib.Walk) -> dict[str, str]:
    """Attributes of a tracklet.

    Returns:
      view: side of the body that is seen. occluded: share of occluded frames. occluded_when: none, start, middle, end.
      hidden_stripe: none, or the quarter of the height, from 1 at the top, that a board hides. stripe_hidden: share of
      the frames in which it does. shift: mean distance of the body from the middle of the crop, as a share of the crop.
      scale: mean size of the body, 1 fills the crop as the camera would have it. cut: mean share of the joints outside
      the crop. look_alikes: how many others have the same looks. clutter: none, left or right, where a dummy stands.
      outfit, where people have several: which of the person's own, from 1; '' for distractors and junk.
    """
    body = plan_lib.layout(plan, tracklet)
    preset, person = plan.preset, plan.people[tracklet.person]
    full = plan.cameras[tracklet.camera - 1].fill * preset.height / person.build.height  # pixels per metre
    across = (body.origin[:, 0] / preset.width - 0.5) * (preset.width / preset.height)
    pelvis = body.joints[:, 0, 1] / preset.height - 0.5
    group = next((g for groups in plan.groups.values() for g in groups if tracklet.identity in g), ())
    clutter = 'none'
    if tracklet.clutter >= 0:
        clutter = 'left' if plan_lib.clutter_place(plan, tracklet.camera)[0] < 0.5 else 'right'
    return {
        'view': tracklet.view,
        'occluded': _share(occluded_frames(body)),
        'occluded_when': tracklet.occluder_when,
        'hidden_stripe': str(tracklet.stripe) if tracklet.stripe else 'none',
        'stripe_hidden': _share(striped_frames(plan, tracklet, body)),
        'shift': _share(np.hypot(across, pelvis)),
        'scale': _share(body.scale / full),
        'cut': _share(~body.inside),
        'look_alikes': str(max(0, len(group) - 1)),
        'clutter': clutter,
        **({'outfit': str(tracklet.outfit or '')} if preset.outfits > 1 else {}),
    }


def _share(values: np.ndarray) -> str:
    return f'{values.mean():.3f}'


def write(folder: pathlib.Path, plan: plan_lib.Plan) -> None:
    """Writes the table of all tracklets below a data set's folder."""
    rows = [{'tracklet': t.name} | of(plan, t) for split in plan.tracklets.values() for t in split]
    with open(folder / PATH, 'w', encoding='ascii', newline='') as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator='\n')
        table.writeheader()
        table.writerows(rows)
