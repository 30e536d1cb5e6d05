"""Training of teacher and student on pseudo-labels.

No ground truth is read here.
"""
