"""A video of people of the rendered benchmark who walk through one of its scenes, and where they are."""

import cv2
import numpy as np

from jaxreid.data import synthetic_drawing, synthetic_plan, synthetic_scene

SCALE = 64  # pixels per metre
RATE = 10.0  # frames per second
WIDTH = 448


def write(path, walks, *, frames, scene=0, noise=2.0):
    """Draws walks and writes them as an MJPG video.

    Args:
      path: of the .avi file.
      walks: (row of the people of the 'demo' plan, first frame from 0, +1 to the right or -1) each; a walk crosses the
        image once.
      frames: of the video.
      scene: seed of the background.

    Returns:
      Per walk: frame from 1 -> (left, top, width, height) of the joints, where they are in the image.
    """
    plan = synthetic_plan.make_plan(synthetic_plan.PRESETS['demo'])
    rng = np.random.default_rng(scene)
    background = synthetic_scene.draw_scene(rng, pixels_per_metre=SCALE)[:, :WIDTH]
    height = background.shape[0]
    drawn, boxes = [], []
    for row, first, direction in walks:
        person = plan.people[row]
        time = np.arange(frames) / RATE
        x = WIDTH / 2 - direction * (WIDTH / 2 + SCALE) + direction * 1.4 * SCALE * (time - first / RATE)
        x = np.where(np.arange(frames) < first, -10.0 * WIDTH, x)
        phase = 2 * np.pi * person.gait.cadence * time
        yaw = np.full(frames, direction * np.pi / 2)
        origin = np.stack([x, np.full(frames, 0.96 * height)], -1)
        how = {'pitch': 0.1, 'scale': np.full(frames, float(SCALE)), 'origin': origin}
        drawn.append((x, synthetic_drawing.figure(person, phase, yaw, **how)))
        boxes.append({})
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), RATE, (WIDTH, height))
    for frame in range(frames):
        image = background.copy()
        for (x, parts), found in zip(drawn, boxes, strict=True):
            if -SCALE < x[frame] < WIDTH + SCALE:
                before = image.copy()
                synthetic_drawing.paint(image, parts, frame)
                rows, columns = np.nonzero((image != before).any(-1))
                if len(rows):
                    left, top = int(columns.min()), int(rows.min())
                    found[frame + 1] = left, top, int(columns.max()) + 1 - left, int(rows.max()) + 1 - top
        image = np.clip(image + rng.normal(0, noise, image.shape), 0, 255).astype(np.uint8)
        writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    writer.release()
    return boxes
