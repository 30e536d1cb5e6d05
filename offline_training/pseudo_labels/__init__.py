"""Segments to features to pseudo-classes.

No network is trained here, and no ground truth is read.
"""
