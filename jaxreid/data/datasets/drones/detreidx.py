"""DetReIDX as the VReID-XFD challenge (WACV 2026) uses it: people seen from drones up to 120 m away, three directions.

The parts of a name stand between underscores. Names of frames from the ground have fewer than eight; in those from the
air the last but one is the flight, of which there are two, in other clothes. A public loader of the challenge makes
camera 0 of the ground and 1 and 2 of the flights, and so it is here. Layout and reader: `cases`.
"""

from jaxreid.data.datasets.drones import cases


def camera(name: str) -> int | None:
    """0: on the ground; 1, 2: the first and the second flight."""
    parts = name.rpartition('.')[0].split('_')
    if len(parts) < 8:
        return 0
    flight = parts[-2]
    return (1 if int(flight) == 1 else 2) if flight.isdecimal() else None


FACTS = cases.made_facts(
    'detreidx',
    'DetReIDX',
    about='DetReIDX, as the challenge VReID-XFD (WACV 2026) uses it: extreme distances.',
    camera=camera,
    cases=cases.CASES,
    example='P001_s1_c1_d1_v1_h1_30.0_20.0_60_1_0001.jpg',
    # The abstract of the challenge's paper; counts of the parts were not published.
    published={'ids': 371},
)
