"""Trained networks to exported models, and models applied to pictures.

No learning.
"""
