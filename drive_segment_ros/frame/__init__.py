"""From messages to frames: the rig, the stream that pairs and waits, what builds a frame.

No ROS types, no threads, no wall clock.
"""
