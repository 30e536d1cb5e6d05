"""The subcommands of `drive-segment`, one file a group; thin functions around library code.

Heavy imports are inside the functions: `--help` is quick, a command needs only what it uses.
"""
