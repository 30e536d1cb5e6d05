"""Published driving data sets to bags, with the truth that comes with them beside each.

What is common to all sets; a set's own files are read in `sets`, and nowhere else.
"""
