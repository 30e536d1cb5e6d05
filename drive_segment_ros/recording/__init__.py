"""The recorder without ROS: selection of frames, disk limits, and writing of drives.

The format of frames and their atomic writing are in `dataset`.
"""
