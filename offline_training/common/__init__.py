"""Functions shared by several stages.

Nothing that depends on a stage.
"""
