"""People of the synthetic benchmark: looks, build, gait, and the skeleton that walks.

Body frame: x to the person's left, y up, z forward; metres. Yaw 0 faces the camera, +90 degrees walks to the right of
the image. The walk is a kinematic one: hips, knees, shoulders and elbows swing by harmonics of one phase, and the
pelvis height follows from the lower foot standing on the ground.
"""

import dataclasses

import numpy as np

JOINTS = (
    *('pelvis', 'neck', 'head', 'head_top'),
    *('left_shoulder', 'left_elbow', 'left_hand', 'left_hip', 'left_knee', 'left_ankle', 'left_toe'),
    *('right_shoulder', 'right_elbow', 'right_hand', 'right_hip', 'right_knee', 'right_ankle', 'right_toe'),
)
INDEX = {name: i for i, name in enumerate(JOINTS)}

CLOTH = {  # RGB; few, so that many people share them
    'black': (38, 38, 44), 'white': (214, 212, 206), 'grey': (132, 134, 138), 'navy': (40, 54, 100),
    'red': (176, 44, 46), 'green': (58, 108, 66),
}  # fmt: skip
CLOTH_PAIRS = (('navy', 'white'), ('red', 'black'), ('green', 'white'), ('grey', 'black'))  # a top and its pattern
LEG_CLOTH = {'black': (40, 40, 44), 'denim': (62, 82, 122), 'khaki': (154, 132, 96)}
SHOE = {'black': (34, 32, 34), 'white': (214, 214, 212)}
BAG = {'black': (44, 42, 46), 'tan': (158, 112, 68)}
HAIR = {'black': (30, 26, 26), 'brown': (88, 58, 38), 'blond': (196, 160, 98)}
SKIN = {'light': (232, 190, 164), 'medium': (196, 148, 112), 'dark': (120, 82, 60)}

PATTERNS = ('plain', 'rows', 'columns', 'diagonal', 'checks', 'dots', 'block', 'logo')
HAIR_STYLES = ('short', 'long', 'ponytail', 'bun', 'cap', 'bald')
BAGS = ('none', 'backpack', 'shoulder', 'hand')
BOTTOMS = ('trousers', 'shorts', 'skirt')


@dataclasses.dataclass(frozen=True)
class Appearance:
    """What clothes, hair and bag look like; look-alikes share all of it."""

    skin: str
    hair: str
    hair_style: str  # one of HAIR_STYLES
    top: str  # a CLOTH colour
    top_second: str  # the pattern's colour
    pattern: str  # one of PATTERNS
    pitch: float  # periods of the pattern over the torso
    logo: tuple[float, float]  # place on chest and back: across (-1 ... 1), down (0 ... 1)
    sleeve: float  # 0 none, 1 elbow, 2 wrist
    coat: float  # 0 none, else length down the leg: 1 knee, 2 ankle
    bottom: str  # one of BOTTOMS
    bottom_colour: str  # a LEG_CLOTH colour
    hem: float  # 1 knee, 2 ankle
    flare: float  # width of the trouser leg or skirt against the limb
    tights: bool  # dark legs below a skirt
    shoe: str
    boots: bool
    bag: str  # one of BAGS
    bag_colour: str
    bag_side: int  # +1 left, -1 right


@dataclasses.dataclass(frozen=True)
class Build:
    """Body proportions. Lengths in metres or as a share of the body height."""

    height: float  # m
    leg: float  # hip height / height
    shoulder: float  # half width between the shoulder joints / height
    hip: float  # half width between the hip joints / height
    arm: float  # arm length / height
    girth: float  # thickness of limbs and torso, 1 = average
    head: float  # size of the head, 1 = average


@dataclasses.dataclass(frozen=True)
class Gait:
    """How a person walks. Angles in radians."""

    cadence: float  # walking cycles (two steps) per second
    stride: float  # amplitude of the hip angle
    knee: float  # flexion of the swinging knee
    arm_swing: float  # amplitude of the shoulder angle
    elbow: float  # flexion of the elbow
    bob: float  # extra rise and fall / height
    sway: float  # movement to the sides / height
    lean: float  # forward pitch of the trunk
    step_width: float  # half distance between the feet / height
    asymmetry: float  # -1 ... 1: the left (> 0) or right arm swings less


@dataclasses.dataclass(frozen=True)
class Person:
    """One identity."""

    appearance: Appearance
    build: Build
    gait: Gait


BUILD_RANGE = {
    'height': (1.55, 1.92), 'leg': (0.475, 0.535), 'shoulder': (0.092, 0.128), 'hip': (0.046, 0.07),
    'arm': (0.37, 0.43), 'girth': (0.85, 1.3), 'head': (0.92, 1.1),
}  # fmt: skip
GAIT_RANGE = {
    'cadence': (0.65, 1.25), 'stride': (0.26, 0.6), 'knee': (0.55, 1.25), 'arm_swing': (0.05, 0.85),
    'elbow': (0.1, 1.3), 'bob': (0.0, 0.022), 'sway': (0.0, 0.028), 'lean': (-0.05, 0.24), 'step_width': (0.0, 0.05),
    'asymmetry': (-1.0, 1.0),
}  # fmt: skip

CADENCES = (0.35, 1.5)  # of look-alikes who differ in nothing else; at 8 frames/s up to 1.2 radians from frame to frame


def draw_appearance(rng: np.random.Generator) -> Appearance:
    """A random wardrobe from the small palette."""

    def pick(options, weights=None):
        options = list(options)
        if weights is not None:
            weights = np.asarray(weights) / np.sum(weights)
        return options[int(rng.choice(len(options), p=weights))]

    top, second = rng.permutation(pick(CLOTH_PAIRS)).tolist()
    bottom = pick(BOTTOMS, (6, 2, 2))
    hem = {'trousers': (1.95, 2.0), 'shorts': (0.75, 1.15), 'skirt': (0.7, 1.5)}[bottom]
    return Appearance(
        skin=pick(SKIN),
        hair=pick(HAIR),
        hair_style=pick(HAIR_STYLES, (5, 4, 2, 2, 2, 1)),
        top=top,
        top_second=second,
        pattern=pick(PATTERNS, (1, 3, 3, 3, 3, 2, 2, 2)),
        pitch=pick((2.0, 3.0, 4.5)),
        logo=(pick((-0.45, 0.0, 0.45)), pick((0.3, 0.55))),
        sleeve=pick((0.45, 1.0, 2.0), (3, 1, 5)),
        coat=pick((0.0, 0.55, 1.05), (7, 1.5, 1.5)),
        bottom=bottom,
        bottom_colour=pick(LEG_CLOTH),
        hem=float(rng.uniform(*hem)),
        flare=float(rng.uniform(1.0, 1.5)),
        tights=bool(rng.random() < 0.5),
        shoe=pick(SHOE),
        boots=bool(rng.random() < 0.25),
        bag=pick(BAGS, (4, 3, 3, 2)),
        bag_colour=pick(BAG),
        bag_side=pick((1, -1)),
    )


def draw_bodies(rng: np.random.Generator, count: int) -> list[tuple[Build, Gait]]:
    """`count` builds and gaits spread over the ranges: each parameter takes `count` levels once (Latin hypercube).

    A single person is drawn uniformly; the members of a look-alike group differ in every parameter.
    """

    def levels(limits):
        low, high = limits
        share = (rng.permutation(count) + 0.5 + (rng.random(count) - 0.5) * (0.5 if count > 1 else 1.0)) / count
        return low + (high - low) * share

    builds = {name: levels(limits) for name, limits in BUILD_RANGE.items()}
    gaits = {name: levels(limits) for name, limits in GAIT_RANGE.items()}
    return [
        (Build(**{k: float(v[i]) for k, v in builds.items()}), Gait(**{k: float(v[i]) for k, v in gaits.items()}))
        for i in range(count)
    ]


def draw_cadences(rng: np.random.Generator, count: int) -> list[tuple[Build, Gait]]:
    """`count` people of one build and gait who step at `count` cadences: alike in every single frame."""
    [(build, gait)] = draw_bodies(rng, 1)
    if count == 1:
        return [(build, gait)]
    gait = dataclasses.replace(gait, stride=max(gait.stride, 0.42), knee=max(gait.knee, 0.8))  # legs that can be seen
    levels = np.linspace(*CADENCES, count) * rng.uniform(0.96, 1.04, count)
    return [(build, dataclasses.replace(gait, cadence=float(levels[i]))) for i in rng.permutation(count)]


def segment_lengths(build: Build) -> dict[str, float]:
    """Lengths of the body's parts in metres."""
    h = build.height
    leg = build.leg * h
    head = 0.132 * h * build.head
    return {
        'thigh': 0.5 * (leg - 0.045 * h),
        'shank': 0.5 * (leg - 0.045 * h),
        'ankle': 0.045 * h,
        'foot': 0.115 * h,
        'trunk': h - leg - head - 0.035 * h,
        'head': head,
        'upper_arm': 0.47 * build.arm * h,
        'forearm': 0.53 * build.arm * h,
    }


def walk(build: Build, gait: Gait, phase: np.ndarray) -> np.ndarray:
    """Joints of the walking body, [F, J, 3] float64: metres in the body frame (left, up, forward), feet on y = 0,
    joints as in `JOINTS`. `phase` [F] is in radians; 2 pi is one cycle, and at 0 the left leg is foremost.
    """
    h, size = build.height, segment_lengths(build)
    joints = np.zeros((len(phase), len(JOINTS), 3))
    sway = gait.sway * h * np.sin(phase)

    def swing(origin, angle, length, sideways=0.0):
        """End of a segment that hangs from `origin`, turned forward by `angle`."""
        end = origin.copy()
        end[:, 0] += np.sin(sideways) * length
        end[:, 1] -= np.cos(angle) * np.cos(sideways) * length
        end[:, 2] += np.sin(angle) * np.cos(sideways) * length
        return end

    def put(name, value):
        joints[:, INDEX[name]] = value

    pelvis = np.zeros((len(phase), 3))
    pelvis[:, 0] = sway
    lowest = np.full(len(phase), np.inf)
    for side, sign, own in (('left', 1.0, phase), ('right', -1.0, phase + np.pi)):
        hip = pelvis + np.array([sign * build.hip * h, 0.0, 0.0])
        lifted = np.maximum(0.0, -np.sin(own)) ** 1.3  # the leg swings forward while its cosine rises
        thigh = gait.stride * np.cos(own) + 0.04 + 0.25 * gait.knee * lifted
        shank = thigh - 0.06 - gait.knee * lifted
        outward = np.arctan2(sign * (gait.step_width - build.hip * 0.6) * h - sway, build.leg * h)
        knee = swing(hip, thigh, size['thigh'], outward)
        ankle = swing(knee, shank, size['shank'], outward)
        toe_pitch = np.clip(shank * 0.9, -0.9, 0.45)
        toe = ankle.copy()
        toe[:, 0] += sign * 0.12 * size['foot']
        toe[:, 1] += -size['ankle'] * np.cos(toe_pitch) + np.sin(toe_pitch) * size['foot']
        toe[:, 2] += np.cos(toe_pitch) * size['foot']
        heel_y = ankle[:, 1] - size['ankle'] * np.cos(toe_pitch)
        lowest = np.minimum(lowest, np.minimum(heel_y, toe[:, 1]))
        for name, value in (('hip', hip), ('knee', knee), ('ankle', ankle), ('toe', toe)):
            put(f'{side}_{name}', value)

    neck = pelvis + np.array([0.0, np.cos(gait.lean) * size['trunk'], np.sin(gait.lean) * size['trunk']])
    neck[:, 0] -= 0.4 * sway
    up = np.array([0.0, np.cos(0.5 * gait.lean), np.sin(0.5 * gait.lean)])
    put('pelvis', pelvis)
    put('neck', neck)
    put('head', neck + up * (0.035 * h + 0.5 * size['head']))
    put('head_top', neck + up * (0.035 * h + size['head']))
    twist = 0.22 * gait.arm_swing * np.cos(phase)  # shoulders turn against the hips
    for side, sign, own in (('left', 1.0, phase + np.pi), ('right', -1.0, phase)):
        across = sign * build.shoulder * h * np.stack([np.cos(twist), 0 * twist, -np.sin(twist)], -1)
        shoulder = neck + across + np.array([0.0, -0.035 * h, 0.0])
        amount = gait.arm_swing * (1.0 - 0.75 * max(0.0, sign * gait.asymmetry))
        upper = amount * np.cos(own) - 0.08 + 0.5 * gait.lean - 0.2 * gait.elbow
        fore = upper + gait.elbow + 0.35 * amount * np.maximum(0.0, np.cos(own))
        elbow = swing(shoulder, upper, size['upper_arm'], sign * (0.1 + 0.06 * build.girth))
        put(f'{side}_shoulder', shoulder)
        put(f'{side}_elbow', elbow)
        put(f'{side}_hand', swing(elbow, fore, size['forearm'], sign * -0.02))
    joints[:, :, 1] += (-lowest + gait.bob * h * (1.0 + np.cos(2.0 * phase)))[:, None]
    return joints


def project(joints: np.ndarray, yaw: np.ndarray, *, pitch: float) -> tuple[np.ndarray, np.ndarray]:
    """Orthographic view of points [F, J, 3], metres in the body frame, at `yaw` [F] radians, by a camera that looks
    down by `pitch` radians.

    Returns [F, J, 2] float64 metres, right and down in the image, the ground below the body at 0; and [F, J] float64
    metres towards the camera.
    """
    c, s = np.cos(yaw)[:, None], np.sin(yaw)[:, None]
    x, y, z = joints[..., 0], joints[..., 1], joints[..., 2]
    near = z * c - x * s
    return np.stack([x * c + z * s, -y * np.cos(pitch) + near * np.sin(pitch)], -1), near
