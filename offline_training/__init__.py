"""Workstation half of Drive&Segment: from bags to frames, pseudo-classes, networks and scores.

Depends on `drive_segment_ros`, never the other way round.
"""
