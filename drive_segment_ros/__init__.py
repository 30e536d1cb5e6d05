"""On-vehicle half of Drive&Segment: everything a car needs to propose, record and segment.

Imports neither torch nor `offline_training`; the algorithms in `perception` import no ROS either.
"""

__version__ = '0.1.0'
