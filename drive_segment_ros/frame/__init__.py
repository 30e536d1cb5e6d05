"""From messages to frames: rigs, the stream that pairs images with sweeps, and the method.

Nothing here uses ROS, threads or the wall clock.
"""
