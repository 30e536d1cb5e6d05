"""The main job from a drive to live masks, as one command.

It only calls the other commands.
"""
