"""Scenes of the synthetic benchmark: wide and cluttered, one for each camera, and what may stand in the way.

Colours are RGB. A scene is a strip of `SCENE_METRES` that closes on itself; a tracklet shows a window of it that
moves against the walker.
"""

import cv2
import numpy as np

SCENE_METRES = 24.0  # length of a scene
SCENE_HEIGHT = 2.7  # metres, more than a crop shows
_GROUND = 0.66  # share of the height at which wall and ground meet

_STREET = (
    (150, 140, 128), (176, 96, 74), (206, 196, 172), (120, 132, 142), (92, 104, 92), (188, 170, 120), (98, 88, 104),
    (214, 212, 206),
)  # fmt: skip
THINGS = (
    (170, 50, 44), (46, 70, 130), (54, 104, 62), (206, 176, 60), (52, 52, 56), (222, 222, 216), (116, 78, 52),
    (64, 134, 150),
)  # fmt: skip


def _pick(rng, colours, spread=12):
    return np.clip(np.array(colours[int(rng.integers(len(colours)))]) + rng.normal(0, spread, 3), 10, 245)


def draw_scene(rng: np.random.Generator, *, pixels_per_metre: float) -> np.ndarray:
    """[H, W, 3] uint8 RGB scene strip of a camera: facades, ground, street furniture, plants, vehicles."""
    s = pixels_per_metre
    height, width = int(SCENE_HEIGHT * s), int(SCENE_METRES * s)
    image = np.zeros((height, width, 3), np.uint8)
    horizon = int(_GROUND * height)

    def box(x0, y0, x1, y1, colour):
        """A rectangle in metres from the left and from the horizon, up positive."""
        corners = (int(x0 * s), int(horizon - y1 * s)), (int(x1 * s), int(horizon - y0 * s))
        cv2.rectangle(image, *corners, np.clip(colour, 0, 255).tolist(), -1, cv2.LINE_AA)

    def ball(x, y, rx, ry, colour):
        centre, axes = (int(x * s), int(horizon - y * s)), (max(1, int(rx * s)), max(1, int(ry * s)))
        cv2.ellipse(image, centre, axes, 0, 0, 360, np.clip(colour, 0, 255).tolist(), -1, cv2.LINE_AA)

    def leaf(x, y, rx, ry, colour, light):
        ball(x, y, rx, ry, np.array(colour) * rng.uniform(*light))

    ground = _pick(rng, ((136, 132, 126), (116, 118, 122), (160, 148, 128), (108, 116, 98)))
    ramp = np.linspace(0.82, 1.12, height - horizon)[:, None, None]
    image[horizon:] = np.clip(ground * ramp, 0, 255).astype(np.uint8)
    for y in np.geomspace(0.05, 0.9, 6):  # slabs, nearer rows wider
        box(0, -y - 0.008, SCENE_METRES, -y, ground * 0.85)
    for x in np.arange(0, SCENE_METRES, rng.uniform(0.7, 1.4)):
        below = int((x + (x % 3 - 1.5) * 0.25) * s), height
        cv2.line(image, (int(x * s), horizon), below, (ground * 0.87).tolist(), 1, cv2.LINE_AA)

    x = 0.0
    while x < SCENE_METRES:  # facades
        span = rng.uniform(1.2, 3.6)
        colour = _pick(rng, _STREET)
        box(x, 0, x + span, SCENE_HEIGHT, colour)
        match int(rng.integers(5)):
            case 0:  # shop window with goods behind
                box(x + 0.15, 0.35, x + span - 0.15, 1.5, (70, 84, 96))
                for _ in range(6):
                    u, v = rng.uniform(x + 0.2, x + span - 0.4), rng.uniform(0.4, 1.0)
                    box(u, v, u + rng.uniform(0.1, 0.35), v + rng.uniform(0.1, 0.45), _pick(rng, THINGS))
                box(x, 1.55, x + span, 1.8, _pick(rng, THINGS))
            case 1:  # bricks
                for row, v in enumerate(np.arange(0, SCENE_HEIGHT, 0.16)):
                    box(x, v, x + span, v + 0.015, colour * 0.8)
                    for u in np.arange(x + 0.15 * (row % 2), x + span, 0.32):
                        box(u, v, u + 0.012, v + 0.16, colour * 0.82)
            case 2:  # door
                u = x + rng.uniform(0.1, max(0.15, span - 1.0))
                box(u, 0, u + 0.85, 1.6, _pick(rng, THINGS) * 0.8)
                box(u + 0.1, 0.85, u + 0.75, 1.5, (120, 138, 150))
            case 3:  # fence before greenery
                for _ in range(25):
                    leaf(rng.uniform(x, x + span), rng.uniform(0.2, 1.8), 0.25, 0.2, (70, 104, 58), (0.7, 1.25))
                for u in np.arange(x, x + span, 0.18):
                    box(u, 0, u + 0.03, 1.0, (70, 64, 60))
            case _:  # windows and posters
                for u in np.arange(x + 0.2, x + span - 0.4, 0.75):
                    box(u, 0.8, u + 0.5, 1.5, (92, 104, 116))
                    box(u + 0.23, 0.8, u + 0.26, 1.5, colour * 1.2)
                u = x + rng.uniform(0.1, span * 0.6)
                box(u, 0.15, u + 0.4, 0.65, _pick(rng, THINGS))
        box(x, 0, x + 0.05, SCENE_HEIGHT, colour * 0.7)
        x += span
    box(0, -0.05, SCENE_METRES, 0.0, ground * 0.65)

    for _ in range(26):  # clutter on the pavement
        u, colour = rng.uniform(0, SCENE_METRES), _pick(rng, THINGS)
        base = -rng.uniform(0.05, 0.3)
        match int(rng.integers(7)):
            case 0:  # lamp post with a sign
                box(u, base, u + 0.07, 2.0, (84, 88, 90))
                ball(u + 0.03, 1.4, 0.17, 0.17, colour)
            case 1:  # tree
                box(u, base, u + 0.16, 1.3, (92, 72, 54))
                for _ in range(30):
                    leaf(u + rng.normal(0.08, 0.4), rng.uniform(0.9, 2.0), 0.2, 0.17, (66, 106, 52), (0.65, 1.3))
            case 2:  # bin
                box(u, base, u + 0.34, 0.6, colour * 0.8)
                box(u - 0.03, 0.55, u + 0.37, 0.65, colour * 0.6)
            case 3:  # bicycle
                rim, thick = int(0.27 * s), max(1, int(0.03 * s))
                for v in (u, u + 0.75):
                    hub = int(v * s), int(horizon - 0.12 * s)
                    cv2.circle(image, hub, rim, (40, 40, 42), thick, cv2.LINE_AA)
                points = np.array(((0, 0.12), (0.3, 0.12), (0.55, 0.5), (0.75, 0.12), (0.55, 0.5), (0.15, 0.5),
                                   (0.3, 0.12)))  # fmt: skip
                points = np.stack([(u + points[:, 0]) * s, horizon - points[:, 1] * s], -1).astype(np.int32)
                cv2.polylines(image, [points], False, colour.tolist(), max(1, int(0.04 * s)), cv2.LINE_AA)
            case 4:  # car
                box(u, -0.02, u + 2.3, 0.5, colour)
                box(u + 0.45, 0.5, u + 1.8, 0.85, colour * 0.9)
                box(u + 0.55, 0.52, u + 1.7, 0.8, (86, 98, 110))
                for v in (u + 0.45, u + 1.85):
                    ball(v, -0.02, 0.23, 0.23, (32, 32, 34))
                    ball(v, -0.02, 0.1, 0.1, (150, 150, 152))
            case 5:  # bench
                box(u, 0.2, u + 1.0, 0.27, (124, 86, 56))
                box(u, 0.36, u + 1.0, 0.52, (124, 86, 56))
                box(u + 0.08, base, u + 0.13, 0.5, (60, 60, 62))
                box(u + 0.87, base, u + 0.92, 0.5, (60, 60, 62))
            case _:  # somebody who stands there
                box(u, 0.0, u + 0.1, 0.55, _pick(rng, THINGS) * 0.6)
                box(u + 0.12, 0.0, u + 0.22, 0.55, _pick(rng, THINGS) * 0.6)
                ball(u + 0.11, 0.75, 0.17, 0.32, colour)
                ball(u + 0.11, 1.14, 0.08, 0.11, (176, 134, 106))

    coarse = rng.normal(1.0, 0.07, (9, 60, 1)).astype(np.float32)  # stains and uneven light
    coarse = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
    image = np.clip(image * coarse + rng.normal(0, 4, (height, width, 1)), 0, 255).astype(np.uint8)
    return cv2.GaussianBlur(image, (0, 0), max(0.3, 0.012 * s))


def window(scene: np.ndarray, *, left: float, top: float, zoom: float, size: tuple[int, int]) -> np.ndarray:
    """A crop [height, width, 3] uint8 of the strip [H, W, 3] uint8, which closes on itself. It begins at column `left`,
    any number of pixels, and row `top`, where rows outside are repeated from the border; `zoom` is in scene pixels per
    output pixel.
    """
    height, width = size
    across = int(np.ceil(width * zoom)) + 2
    start = int(np.floor(left))
    columns = np.arange(start, start + across) % scene.shape[1]
    if columns[0] <= columns[-1]:
        strip = scene[:, columns[0] : columns[-1] + 1]
    else:
        strip = scene[:, columns]
    matrix = np.array([[zoom, 0, left - start], [0, zoom, top]], np.float32)
    return cv2.warpAffine(
        strip, matrix, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )


def draw_post(image: np.ndarray, x: float, width: float, colour: np.ndarray) -> None:
    """A round post or trunk before the person: shaded across, in place."""
    left, right = int(np.floor(x - width / 2)), int(np.ceil(x + width / 2))
    lo, hi = max(left, 0), min(right, image.shape[1])
    if hi <= lo:
        return
    across = (np.arange(lo, hi) + 0.5 - x) / (width / 2)
    shade = np.clip(0.45 + 0.75 * np.sqrt(np.clip(1 - (across + 0.3) ** 2, 0, 1)), 0, 1.2)
    rows = 1.0 + 0.06 * np.sin(np.arange(image.shape[0]) * 1.7)[:, None]
    image[:, lo:hi] = np.clip(rows[..., None] * (shade[:, None] * colour)[None], 0, 255).astype(np.uint8)


def draw_bush(image: np.ndarray, x: float, width: float, leaves: np.ndarray, colour: np.ndarray) -> None:
    """A bush that hides the legs, in place.

    `leaves` [n, 4]: across (-1 ... 1), up (0 ... 1), size, brightness; `x` and `width` are pixels.
    """
    height = image.shape[0]
    for across, up, size, light in leaves:
        centre = (int(x + across * width / 2), int(height - up * 0.42 * height * (1 - 0.35 * across**2)))
        radius = max(1, int(size * 0.2 * width))
        cv2.circle(image, centre, radius, np.clip(colour * light, 0, 255).tolist(), -1, cv2.LINE_AA)


def draw_van(image: np.ndarray, x: float, colour: np.ndarray) -> None:
    """The side of a van that hides nearly all of the crop, in place; `x` is its middle in pixels."""
    height = image.shape[0]

    def box(left, top, right, bottom, shade):
        first, last = ((int(x + u * height), int(v * height)) for u, v in ((left, top), (right, bottom)))
        cv2.rectangle(image, first, last, np.clip(shade, 0, 255).tolist(), -1, cv2.LINE_AA)

    box(-0.5, 0.04, 0.5, 0.93, colour)
    box(-0.42, 0.12, 0.1, 0.36, np.array((86, 98, 110)))
    box(-0.5, 0.52, 0.5, 0.6, colour * 0.6)
    for u in (-0.34, 0.34):
        cv2.circle(image, (int(x + u * height), int(0.93 * height)), int(0.08 * height), (32, 32, 34), -1, cv2.LINE_AA)


def draw_board(image: np.ndarray, x: float, stripe: int, colours: np.ndarray) -> None:
    """A board of upright slats in two `colours` [2, 3] before one quarter of the height, in place."""
    height, width = image.shape[:2]
    left, right = (int(np.clip(x + u * height, 0, width)) for u in (-0.5, 0.5))
    slats = ((np.arange(left, right) - x) * 8 / height).astype(int) % 2
    image[(stripe - 1) * height // 4 : stripe * height // 4, left:right] = colours[slats].astype(np.uint8)
