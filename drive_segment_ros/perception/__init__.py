"""ROS-free algorithms from a LiDAR sweep and a camera image to object segments in that image.

Pure functions on NumPy arrays, compiled with numba where they loop over a sweep's points.
"""
