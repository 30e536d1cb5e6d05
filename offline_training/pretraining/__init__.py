"""An encoder learns from images alone, before any pseudo-label.

What it learns is kept as a published backbone is; nothing here knows classes or LiDAR.
"""
