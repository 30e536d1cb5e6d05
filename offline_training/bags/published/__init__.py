"""Conversion of published driving data sets to bags, with their ground truth beside each bag.

The common part; files of a specific set are read only in `sets`.
"""
