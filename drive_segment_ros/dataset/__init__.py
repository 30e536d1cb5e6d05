"""The on-disk frame format: a dataset is a folder of drives, a drive a folder of frames.

Shared by the live recorder and the offline tools; writing is atomic, reading tolerates crashes.
"""
