"""Segments to features to pseudo-classes.

No network is trained here, and no truth read.
"""
