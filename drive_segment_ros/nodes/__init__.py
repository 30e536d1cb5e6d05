"""The ROS 2 nodes, one file each: wiring only, no algorithms.

Lifecycle nodes: load in configure, subscribe in activate, free in the mirror images.
"""
