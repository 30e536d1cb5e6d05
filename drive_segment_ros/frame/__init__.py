"""From messages to frames: the rig, the stream that pairs and waits, the function that builds.

Nothing here knows ROS, threads or the wall clock.
"""
