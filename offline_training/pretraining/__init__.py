"""Self-supervised pretraining of an encoder on images alone.

The result has the format of a published backbone; nothing here depends on classes or LiDAR.
"""
