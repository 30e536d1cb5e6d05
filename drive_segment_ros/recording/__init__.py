"""What the live recorder decides and keeps: which frames, where, and how much; no ROS in it.

A frame's format and its atomic writing are `dataset`'s.
"""
