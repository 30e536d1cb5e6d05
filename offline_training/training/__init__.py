"""Teacher and student learn from pseudo-labels.

No truth is read here.
"""
