"""Advice if a message's stamp is far from the node's time."""

from __future__ import annotations

from typing import Any

# Larger than any transport delay or usual clock error.
_FAR_S = 5.0


def clock_hint(node: Any, topic: str, message_stamp_ns: int) -> str:
    """Return advice if a topic's stamps are far from the node's time, else an empty text."""
    simulated = node.get_parameter('use_sim_time').value
    now_ns = node.get_clock().now().nanoseconds
    return explain_clock(topic, message_stamp_ns, now_ns, simulated)


def explain_clock(topic: str, message_stamp_ns: int, now_ns: int, simulated: bool) -> str:
    """Return advice if a stamp is far from a node's time, else an empty text.

    Args:
        topic: whose stamp it is.
        message_stamp_ns: the stamp.
        now_ns: the node's time, 0 if it waits for /clock.
        simulated: whether the node has `use_sim_time`.
    """
    if message_stamp_ns <= 0:
        return f'{topic} has no time stamp; the driver must set header.stamp'
    if simulated and now_ns == 0:
        return 'use_sim_time is set but nothing publishes /clock; play the bag with --clock'
    apart = (message_stamp_ns - now_ns) * 1e-9
    if abs(apart) <= _FAR_S:
        return ''
    words = f'{topic} is stamped {_duration(abs(apart))} {"after" if apart > 0 else "before"} '
    if simulated:
        return words + 'simulated time; play it and /clock from the same bag'
    return words + (
        "this node's time; for a recording start the node with use_sim_time:=true and play the "
        'bag with --clock, else synchronise the clocks'
    )


def _duration(seconds: float) -> str:
    for unit, length in (('days', 86400.0), ('h', 3600.0), ('min', 60.0)):
        if seconds >= 2 * length:
            return f'{seconds / length:.0f} {unit}'
    return f'{seconds:.1f} s'
