"""What several stages share.

Nothing that knows a stage.
"""
