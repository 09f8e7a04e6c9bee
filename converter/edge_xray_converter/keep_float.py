"""Leaving the fewest operations in float that bring an int8 network inside its budget.

As accuracy-controlled quantization does elsewhere: rank the operations by the error each adds, leave
the worst ones in float until the budget is kept, then take back every one that is not needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge_xray_converter.layers import LayerError

Trial = Callable[[Sequence[str]], bool]
"""Tells whether the network keeps its budget with the named operations left in float."""


def choose_float(ranking: Sequence[LayerError], keeps_budget: Trial) -> tuple[str, ...]:
    """Choose the operations to leave in float.

    A bisection finds how many of the worst are needed (more in float is taken for no worse), then each
    of them is tried in int8 again, the least bad first.

    Args:
        ranking: all operations, the worst first.
        keeps_budget: tries a choice; called about ``log2(n) + k`` times for k operations left.

    Returns:
        Output tensors of the operations to leave in float, in the order of the ranking: all of them if even a float
        network misses the budget.
    """
    names = [error.name for error in ranking]
    if keeps_budget(()):
        return ()
    if not keeps_budget(names):
        return tuple(names)
    low, high = 0, len(names)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if keeps_budget(names[:middle]) else (middle, high)
    chosen = names[:high]
    for name in reversed(chosen[:-1]):
        fewer = [other for other in chosen if other != name]
        if keeps_budget(fewer):
            chosen = fewer
    return tuple(chosen)
