"""Draws the people of the synthetic benchmark: polygons of all frames of a tracklet first, then one fill each.

Colours are RGB. Polygons are prepared for a whole tracklet at once because the Python cost of preparing them frame by
frame is higher than that of filling them.
"""

import dataclasses
import functools

import cv2
import numpy as np

from jaxreid.data.synthetic import person as person_lib

_SHIFT = 4  # fractional bits of OpenCV's polygon coordinates
_TEXTURE = 40  # pixels per side of a garment pattern; near the torso size, so that it is not undersampled much


@dataclasses.dataclass
class Part:
    """A filled outline in every frame of a tracklet."""

    outline: np.ndarray  # [F, n, 2] pixels
    colour: np.ndarray  # [F, 3] RGB
    order: np.ndarray  # [F] smaller is drawn first
    shown: np.ndarray  # [F] bool
    texture: np.ndarray | None = None  # [40, 40, 3] uint8, stretched over `corners`
    corners: np.ndarray | None = None  # [F, 3, 2] pixels: top left, top right, bottom left


def _capsule(a, b, ra, rb, points=6):
    """Outlines [F, 2 * points, 2] of tapered limbs from a [F, 2] (radius ra) to b (radius rb)."""
    along = b - a
    angle = np.arctan2(along[:, 1], along[:, 0])
    half = np.linspace(-np.pi / 2, np.pi / 2, points)
    ra, rb = (np.broadcast_to(np.asarray(r, float), angle.shape) for r in (ra, rb))
    first = angle[:, None] + np.pi + half
    last = angle[:, None] + half
    circle_a = a[:, None] + ra[:, None, None] * _point(np.cos(first), np.sin(first))
    circle_b = b[:, None] + rb[:, None, None] * _point(np.cos(last), np.sin(last))
    return np.concatenate([circle_a, circle_b], 1)


def _ellipse(centre, rx, ry, start=0.0, stop=2 * np.pi, points=18):
    """Outlines [F, points, 2] of (arcs of) upright ellipses; angles run clockwise from the image's right."""
    t = np.linspace(start, stop, points, endpoint=stop - start < 6.28)
    rx, ry = (np.broadcast_to(np.asarray(r, float), centre.shape[:1])[:, None] for r in (rx, ry))
    return centre[:, None] + _point(rx * np.cos(t), ry * np.sin(t))


def pattern_texture(appearance: person_lib.Appearance) -> np.ndarray | None:
    """[40, 40, 3] uint8 RGB cloth of the top, or None where it is plain (a logo is drawn apart)."""
    y, x = np.mgrid[0:_TEXTURE, 0:_TEXTURE] / _TEXTURE
    pitch = appearance.pitch
    match appearance.pattern:
        case 'rows':
            second = (y * pitch) % 1 < 0.45
        case 'columns':
            second = (x * pitch + 0.25) % 1 < 0.45
        case 'diagonal':
            second = ((x + y) * pitch * 0.7) % 1 < 0.45
        case 'checks':
            second = ((x * pitch) % 1 < 0.5) ^ ((y * pitch * 1.3) % 1 < 0.5)
        case 'dots':
            second = ((x * pitch) % 1 - 0.5) ** 2 + ((y * pitch * 1.3) % 1 - 0.5) ** 2 < 0.1
        case 'block':
            second = y > (0.35 if pitch < 3 else 0.55)
        case _:
            return None
    colours = np.array([person_lib.CLOTH[appearance.top], person_lib.CLOTH[appearance.top_second]], np.uint8)
    return colours[second.astype(int)]


def _point(x, y):
    """[F, 2] from the two coordinates, each [F] or a number."""
    return np.stack(np.broadcast_arrays(x, y), -1)


def _polygon(centre, corners, half_width, half_height):
    """Outlines [F, n, 2] of one shape, `corners` [n, 2] in units of the half sizes, around centres [F, 2]."""
    return centre[:, None] + np.asarray(corners) * _point(half_width, half_height)[:, None]


class _Body:
    """A person's joints on the image in all frames, and the parts drawn so far."""

    def __init__(self, person, phase, yaw, *, pitch, scale, origin):
        self.looks, self.build = person.appearance, person.build
        metres, near = person_lib.project(person_lib.walk(self.build, person.gait, phase), yaw, pitch=pitch)
        self._px, self._near = metres * scale[:, None, None] + origin[:, None], near
        self.unit = self.build.height * scale  # [F] pixels per body height
        self.thick = self.build.girth * self.unit
        self.facing, self.across = np.cos(yaw), np.sin(yaw)
        self.pelvis, self.neck = self.joint('pelvis'), self.joint('neck')
        self.skin = person_lib.SKIN[self.looks.skin]
        self.top = np.array(person_lib.CLOTH[self.looks.top], float)
        self.second = np.array(person_lib.CLOTH[self.looks.top_second], float)
        self.parts: list[Part] = []

    def joint(self, name):
        return self._px[:, person_lib.INDEX[name]]

    def depth(self, *names):
        """[F] metres by which the joints' mean is nearer than the pelvis."""
        near = self._near
        return sum(near[:, person_lib.INDEX[n]] for n in names) / len(names) - near[:, person_lib.INDEX['pelvis']]

    def on_spine(self, level):
        """[F, 2] between pelvis (0) and neck (1)."""
        return self.pelvis + (self.neck - self.pelvis) * level

    def width(self, lateral, deep):
        """[F] half width in pixels of an elliptic cross-section with half axes in body heights."""
        return np.hypot(lateral * self.facing, deep * self.across) * self.unit

    def add(self, outline, colour, order, *, shade=1.0, shown=True, texture=None, corners=None):
        shape = self.unit.shape
        colour = np.asarray(colour, float) * np.broadcast_to(np.asarray(shade, float), shape)[:, None]
        order = np.broadcast_to(np.asarray(order, float), shape)
        self.parts.append(
            Part(outline, np.clip(colour, 0, 255), order, np.broadcast_to(shown, shape), texture, corners)
        )

    def limb(self, a, b, ra, rb, colour, order, *, shade=1.0):
        """A capsule with a lighter side towards the light (upper left)."""
        self.add(_capsule(a, b, ra, rb), colour, order, shade=shade)
        lift = _point(-0.28 * ra, -0.12 * ra)
        self.add(_capsule(a + lift, b + lift, ra * 0.55, rb * 0.55), colour, order + 0.001, shade=shade * 1.13)

    def skirt(self, length, flare, colour, order):
        """A garment around both legs down to `length` (1 knee, 2 ankle); returns the middle [F, 2] of its hem."""

        def at(side):
            hip, knee, ankle = (self.joint(f'{side}_{n}') for n in ('hip', 'knee', 'ankle'))
            return hip + (knee - hip) * min(length, 1.0) + (ankle - knee) * max(length - 1.0, 0.0)

        build, unit = self.build, self.unit
        left, right = at('left'), at('right')
        middle = 0.5 * (left + right)
        spread = 0.5 * np.abs(left[:, 0] - right[:, 0]) + 0.045 * self.thick * flare
        waist = self.width(build.hip + 0.034 * build.girth, 0.07 * build.girth)
        bottom = np.maximum(left[:, 1], right[:, 1])
        hips = self.pelvis + _point(0.0, -0.03 * unit)
        outline = np.stack(
            [
                hips + _point(-waist * 0.92, -0.03 * unit),
                hips + _point(waist * 0.92, -0.03 * unit),
                hips + _point(waist * 1.05, 0.06 * unit),
                _point(middle[:, 0] + spread, bottom),
                _point(middle[:, 0], bottom + 0.012 * unit),
                _point(middle[:, 0] - spread, bottom),
                hips + _point(-waist * 1.05, 0.06 * unit),
            ],
            1,
        )
        self.add(outline, colour, order)
        fold = outline.copy()
        fold[:, :, 0] = middle[:, 0, None] + (outline[:, :, 0] - middle[:, 0, None]) * 0.45 - 0.25 * spread[:, None]
        self.add(fold, colour, order + 0.001, shade=1.12)
        return middle


def figure(
    person: person_lib.Person,
    phase: np.ndarray,
    yaw: np.ndarray,
    *,
    pitch: float,
    scale: np.ndarray,
    origin: np.ndarray,
) -> list[Part]:
    """All parts of a walking person, in no particular order; `paint` sorts them.

    The walk is at `phase` [F] radians of its cycle and `yaw` [F] radians, 0 faces the camera, which looks down by
    `pitch` radians; `scale` [F] is in pixels per metre, `origin` [F, 2] in pixels, where the body's ground point lies.
    """
    body = _Body(person, phase, yaw, pitch=pitch, scale=scale, origin=origin)
    _draw_legs(body)
    _draw_torso(body)
    _draw_arms(body)
    _draw_head(body)
    _draw_bag(body)
    return body.parts


def _draw_legs(body):
    """Legs, shoes, and what is worn below the waist."""
    looks, build, unit, thick = body.looks, body.build, body.unit, body.thick
    cloth, shoe = person_lib.LEG_CLOTH[looks.bottom_colour], person_lib.SHOE[looks.shoe]
    leg_skin = (46, 42, 46) if looks.bottom == 'skirt' and looks.tights else body.skin
    for side in ('left', 'right'):
        away = body.depth(f'{side}_hip', f'{side}_knee', f'{side}_ankle')
        order = 1.0 + np.clip(away, -0.9, 0.9)
        limb = functools.partial(
            body.limb, shade=1.0 - 0.32 * np.clip(-body.depth(f'{side}_hip') / (0.05 * build.height), 0, 1)
        )
        hip, knee, ankle, toe = (body.joint(f'{side}_{n}') for n in ('hip', 'knee', 'ankle', 'toe'))
        r_hip, r_knee, r_ankle = 0.05 * thick, 0.032 * thick, 0.021 * thick
        limb(hip, knee, r_hip, r_knee, leg_skin, order)
        limb(knee, ankle, r_knee, r_ankle, leg_skin, order + 0.003)
        sole = _point(0.0, 0.018 * unit)
        limb(ankle + sole, toe + (ankle - toe) * 0.12, 0.026 * unit, 0.017 * unit, shoe, order + 0.006)
        if looks.boots:
            limb(ankle + (knee - ankle) * 0.45, ankle, r_knee, r_ankle * 1.35, shoe, order + 0.0065)
        if looks.bottom != 'skirt':
            thigh_end = hip + (knee - hip) * min(looks.hem, 1.0)
            r_hem = r_knee * (1.06 + 0.4 * (looks.flare - 1))
            limb(hip, thigh_end, r_hip * 1.06, r_hem, cloth, order + 0.008)
            if looks.hem > 1.0:
                end = knee + (ankle - knee) * (looks.hem - 1.0)
                limb(knee, end, r_hem, r_ankle * 1.1 * looks.flare, cloth, order + 0.009)
    if looks.bottom == 'skirt':
        body.skirt(looks.hem, looks.flare, cloth, 2.2)
    else:
        seat = body.pelvis + _point(0.0, -0.005 * unit)
        half = body.width(build.hip + 0.035 * build.girth, 0.066 * build.girth)
        body.add(_ellipse(seat, half, 0.055 * unit), cloth, 2.1, shade=0.95)


def _draw_torso(body):
    """Torso with its pattern, coat, logo and neckline."""
    looks, build, unit, top = body.looks, body.build, body.unit, body.top
    facing, across, width, on_spine = body.facing, body.across, body.width, body.on_spine
    lateral, deep = build.shoulder + 0.012 * build.girth, 0.062 * build.girth
    levels = (  # place on the spine, half axes of the cross-section
        (1.03, 0.035, 0.035),
        (0.985, 0.6 * lateral, 0.04),
        (0.91, lateral * 1.02, deep * 0.9),
        (0.7, lateral * 0.92, deep * 1.12),
        (0.35, 0.55 * lateral + 0.4 * (build.hip + 0.03) * build.girth, deep * 1.05),
        (0.05, build.hip + 0.036 * build.girth, deep * 1.1),
        (-0.1, build.hip + 0.034 * build.girth, deep * 1.08),
    )
    right_edge = [on_spine(level) + _point(width(a, b), 0.0) for level, a, b in levels]
    left_edge = [on_spine(level) - _point(width(a, b), 0.0) for level, a, b in levels]
    half = width(lateral * 1.05, deep * 1.12)
    sideways = _point(half, 0.0)
    corners = np.stack([on_spine(1.03) - sideways, on_spine(1.03) + sideways, on_spine(-0.12) - sideways], 1)
    body.add(np.stack(right_edge + left_edge[::-1], 1), top, 3.0, texture=pattern_texture(looks), corners=corners)
    lit = _capsule(on_spine(0.1) - 0.4 * sideways, on_spine(0.8) - 0.35 * sideways, half * 0.3, half * 0.38)
    body.add(lit, top, 2.999)
    if looks.coat:
        hem_middle = body.skirt(looks.coat, 1.25, top, 2.9)
        shift = _point(across * half * 0.6, 0.0)
        seam = _capsule(on_spine(0.95) + shift, hem_middle + shift * 0.6, 0.006 * unit, 0.006 * unit)
        body.add(seam, top * 0.55, 3.01, shown=facing > 0.35)
    if looks.pattern == 'logo':
        toward = np.abs(facing)  # on chest and back
        u = looks.logo[0] * facing * 0.75 + np.sign(facing) * across * 0.7
        place = on_spine(1.0 - looks.logo[1]) + _point(u * half, 0.0)
        size = 0.055 if looks.pitch > 2 else 0.04
        logo = _ellipse(place, size * unit * np.maximum(toward, 0.05), size * 0.9 * unit)
        body.add(logo, body.second, 3.02, shown=toward > 0.2)
    neckline = _ellipse(on_spine(1.0) + _point(across * 0.02 * unit, 0.0), 0.03 * unit, 0.03 * unit)
    body.add(neckline, body.skin, 3.03, shade=0.9, shown=facing > 0.3)


def _draw_arms(body):
    """Arms with hands and sleeves."""
    looks, unit, thick, skin = body.looks, body.unit, body.thick, body.skin
    cloth = body.second if looks.pattern == 'block' and looks.pitch == 4.5 else body.top
    for side in ('left', 'right'):
        shoulder, elbow, hand = (body.joint(f'{side}_{n}') for n in ('shoulder', 'elbow', 'hand'))
        depth = body.depth(f'{side}_shoulder', f'{side}_elbow', f'{side}_hand')
        behind = depth < np.where(np.abs(body.across) > 0.5, -0.02, -0.12)
        order = np.where(behind, 0.5, 5.0)
        shade = 1.0 - 0.3 * np.clip(-body.depth(f'{side}_shoulder') / (0.08 * body.build.height), 0, 1)
        shade = np.where(behind, shade, np.minimum(shade * 0.95, 1.0))
        limb = functools.partial(body.limb, shade=shade)
        r_shoulder, r_elbow, r_wrist = 0.03 * thick, 0.023 * thick, 0.016 * thick
        upper, lower = elbow - shoulder, hand - elbow
        limb(shoulder, elbow, r_shoulder, r_elbow, skin, order)
        limb(elbow, hand, r_elbow, r_wrist, skin, order + 0.002)
        body.add(_capsule(hand, hand + lower * 0.12, 0.02 * unit, 0.017 * unit), skin, order + 0.005, shade=shade)
        upper_end = shoulder + upper * min(looks.sleeve, 1.0)
        limb(shoulder + upper * 0.06, upper_end, r_shoulder * 1.04, r_elbow * 1.15, cloth, order + 0.006)
        if looks.sleeve > 1.0:
            limb(elbow, elbow + lower * 0.94, r_elbow * 1.2, r_wrist * 1.25, cloth, order + 0.008)


def _draw_head(body):
    """Neck, head, face and hair."""
    looks, unit, skin, second = body.looks, body.unit, body.skin, body.second
    facing, across, add = body.facing, body.across, body.add
    hair = person_lib.HAIR[looks.hair]
    head, crown = body.joint('head'), body.joint('head_top')
    ry = np.linalg.norm(crown - head, axis=1) * 1.02
    rx = np.hypot(0.78 * facing, 0.9 * across) * ry

    def on_head(u, v):
        """A point of the head, u along the viewing-plane part of 'forward', v down, in radii."""
        return head + _point(u * across * rx, v * ry)

    throat = body.neck + (body.pelvis - body.neck) * 0.06
    body.limb(throat, head, 0.031 * unit * body.build.girth**0.5, 0.03 * unit, skin, 3.5, shade=0.88)
    add(_ellipse(head, rx, ry), skin if looks.hair_style == 'bald' else hair, 4.0)
    face = 0.86 * rx * np.clip(0.56 + 0.44 * facing, 0, 1)
    add(_ellipse(on_head(0.5, 0.2), face, 0.8 * ry), skin, 4.1, shown=face > 0.2 * rx)
    add(_ellipse(on_head(0.58, 0.35), face * 0.6, 0.42 * ry), skin, 4.11, shade=1.08, shown=face > 0.2 * rx)
    add(_ellipse(on_head(1.0, 0.22), 0.13 * rx, 0.16 * ry), skin, 4.12, shown=np.abs(across) > 0.6)  # nose
    for eye in (-1.0, 1.0):
        place = on_head(0.75, 0.12) + _point(eye * 0.34 * rx * facing, 0.0)
        add(_ellipse(place, 0.09 * ry, 0.07 * ry, points=8), (40, 30, 30), 4.2, shown=facing > -0.1)
    mouth = _ellipse(on_head(0.62, 0.62), 0.2 * rx * np.clip(0.4 + facing, 0, 1), 0.045 * ry, points=8)
    add(mouth, (150, 70, 70), 4.2, shown=facing > 0.2)
    in_front = facing < 0  # the back of the head is what we see
    match looks.hair_style:
        case 'long':
            widest = rx * np.clip(1.0 - 0.35 * np.abs(across), 0.6, 1)
            fall = _capsule(on_head(-0.35, -0.1), on_head(-0.45, 1.75), widest, rx * 0.8)
            add(fall, hair, np.where(in_front, 4.3, 2.95), shade=0.92)
            nape = _capsule(on_head(-0.5, -0.2), on_head(-0.5, 1.2), rx * 0.45, rx * 0.42)
            add(nape, hair, 4.05, shown=np.abs(across) > 0.4)
        case 'ponytail':
            order = np.where(in_front, 4.3, 2.95)
            body.limb(on_head(-0.95, -0.05), on_head(-1.5, 1.5), 0.3 * rx, 0.2 * rx, np.array(hair) * 0.9, order)
        case 'bun':
            add(_ellipse(on_head(-0.75, -0.85), 0.42 * ry, 0.38 * ry), hair, np.where(in_front, 4.3, 3.9), shade=1.15)
        case 'cap':
            add(_ellipse(on_head(0.0, -0.12), rx * 1.06, ry * 0.95, np.pi, 2 * np.pi), second, 4.4)
            brim = np.abs(across) * rx * 0.55 + 0.55 * rx
            add(_ellipse(on_head(0.75, -0.16), brim, 0.12 * ry), second * 0.8, 4.41, shown=facing > -0.3)
        case _:
            pass


def _draw_bag(body):
    """Backpack, shoulder bag or hand bag with its straps."""
    looks, build, unit = body.looks, body.build, body.unit
    facing, across, width, on_spine, add = body.facing, body.across, body.width, body.on_spine, body.add
    colour, side = np.array(person_lib.BAG[looks.bag_colour], float), float(looks.bag_side)
    match looks.bag:
        case 'backpack':
            half_w, half_h = width(0.085, 0.045), 0.105 * unit
            centre = on_spine(0.62) - _point(across * (0.062 * build.girth + 0.035) * unit, 0.0)
            box = [[-0.7, -1], [0.7, -1], [1, -0.6], [1, 0.85], [0.8, 1], [-0.8, 1], [-1, 0.85], [-1, -0.6]]
            order = np.where(facing < 0, 5.5, 2.5)
            add(_polygon(centre, box, half_w, half_h), colour, order)
            pocket = _polygon(centre + _point(0.0, 0.35 * half_h), box, half_w * 0.7, half_h * 0.42)
            add(pocket, colour, order + 0.01, shade=1.22)
            for strap in (-1.0, 1.0):
                start = on_spine(0.98) + _point(strap * 0.55 * build.shoulder * unit * facing, 0.0)
                end = on_spine(0.5) + _point(strap * 0.85 * build.shoulder * unit * facing, 0.0)
                add(_capsule(start, end, 0.012 * unit, 0.012 * unit), colour, 3.2, shade=0.85, shown=facing > 0.25)
        case 'shoulder':
            half_w, half_h = width(0.04, 0.085), 0.065 * unit
            centre = body.pelvis + _point(side * (build.hip + 0.075) * unit * facing, 0.02 * unit)
            box = [[-1, -0.8], [-0.8, -1], [0.8, -1], [1, -0.8], [0.9, 1], [-0.9, 1]]
            order = np.where(side * across > 0.4, 0.3, 5.6)
            start = on_spine(0.97) - _point(side * 0.6 * build.shoulder * unit * facing, 0.0)
            strap = _capsule(start, centre, 0.011 * unit, 0.011 * unit)
            add(strap, colour, np.where(order < 1, 3.2, 3.3), shade=0.85)
            add(_polygon(centre, box, half_w, half_h), colour, order)
            flap = _polygon(centre + _point(0.0, -0.4 * half_h), box, half_w, 0.03 * unit)
            add(flap, colour, order + 0.01, shade=1.22)
        case 'hand':
            hand = body.joint('left_hand' if side > 0 else 'right_hand')
            centre = hand + _point(0.0, 0.1 * unit)
            box = [[-0.75, -0.7], [0.75, -0.7], [1, 1], [-1, 1]]
            order = np.where(side * across > 0.4, 0.4, 5.7)
            add(_capsule(hand, centre, 0.007 * unit, 0.03 * unit), colour, order, shade=0.8)
            add(_polygon(centre, box, width(0.03, 0.075), 0.06 * unit), colour, order + 0.01)
        case _:
            pass


def paint(image: np.ndarray, parts: list[Part], frame: int) -> None:
    """Draws frame `frame` of the parts on `image` [H, W, 3] uint8 RGB, in place."""
    shown = sorted((p for p in parts if p.shown[frame]), key=lambda p: p.order[frame])
    for part in shown:
        outline = np.round(part.outline[frame] * (1 << _SHIFT)).astype(np.int32)
        if part.texture is None:
            cv2.fillPoly(image, [outline], part.colour[frame].tolist(), cv2.LINE_AA, _SHIFT)
        else:
            _paint_texture(image, part, frame, outline)


def _paint_texture(image, part, frame, outline):
    height, width = image.shape[:2]
    x0, y0 = np.maximum(np.floor(part.outline[frame].min(0)).astype(int) - 1, 0)
    x1, y1 = np.minimum(np.ceil(part.outline[frame].max(0)).astype(int) + 2, (width, height))
    if x1 <= x0 or y1 <= y0:
        return
    origin = np.array([x0, y0])
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    cv2.fillPoly(mask, [outline - origin.astype(np.int32) * (1 << _SHIFT)], 255, cv2.LINE_AA, _SHIFT)
    source = np.array([[0, 0], [_TEXTURE, 0], [0, _TEXTURE]], np.float32)
    matrix = cv2.getAffineTransform(source, (part.corners[frame] - origin).astype(np.float32))
    cloth = cv2.warpAffine(
        part.texture, matrix, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    shade = np.linspace(1.08, 0.86, x1 - x0)[None, :, None]
    weight = mask[..., None] * (1 / 255)
    region = image[y0:y1, x0:x1]
    region[:] = (region * (1 - weight) + np.minimum(cloth * shade, 255) * weight).astype(np.uint8)
