"""Export of trained networks, and their application to images.

Nothing is trained here.
"""
