"""Windows that slide over an image: which places each tap meets, and how borders fade where it meets padding. numpy only.

Every convolution with zero padding takes from the places near the border, whose neighbors are missing, and the next one takes from them again; the
middle keeps its size. A share of lost taps alone would have all places fade alike, a few percent in each layer of small images.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from trainaudit.frozen import frozen
from trainaudit.measure.signal.prediction import Floats, Profile


@frozen(eq=False)
class Window:
    """Along one axis: `place[i, k]` is where tap k of the i-th window lies among `size` places, `is_inside` whether that is no padding. The windows
    stand on the outputs of a convolution, on the inputs of its transpose."""

    place: npt.NDArray[np.int64]
    is_inside: npt.NDArray[np.bool_]
    size: int

    def gathered(self, profile: Floats) -> tuple[Floats, Floats]:
        """From the places to the windows: what each tap brings on average over the windows, and the profile over the windows."""
        found = np.where(self.is_inside, profile.take(self.place, mode="clip"), 0.0)
        return found.mean(axis=0), _evened(np.asarray(found.sum(axis=1), np.float64))

    def scattered(self, profile: Floats) -> tuple[Floats, Floats]:
        """From the windows to the places."""
        found = np.where(self.is_inside, profile[:, None], 0.0)
        spread = np.bincount(self.place[self.is_inside], found[self.is_inside], self.size)
        return found.sum(axis=0) / self.size, _evened(np.asarray(spread, np.float64))


@lru_cache(maxsize=512)
def window(windows: int, size: int, kernel: int, stride: int, begin: int, dilation: int) -> Window:
    place = np.arange(windows)[:, None] * stride - begin + np.arange(kernel) * dilation
    return Window(place, (place >= 0) & (place < size), size)


def passed_on(windows: tuple[Window, ...], profile: Profile | None, *, to_places: bool) -> tuple[Floats, Profile]:
    """What each tap of a window over several axes passes on of second moments, per receiving position, and the profile there."""
    shares, result = np.ones(1), []
    for k, one in enumerate(windows):
        count = len(one.place) if to_places else one.size
        mine = np.ones(count) if profile is None or profile[k].size != count else profile[k]
        share, after = one.scattered(mine) if to_places else one.gathered(mine)
        shares = np.outer(shares, share).reshape(-1)
        result.append(after)
    return shares, tuple(result)


def mixed(first: Profile | None, second: Profile | None, weight: float) -> Profile | None:
    """The profile of a sum, of whose second moment the first has this share."""
    if first is None and second is None:
        return None
    some = first if first is not None else second
    assert some is not None
    one = first if first is not None else tuple(np.ones(axis.size) for axis in some)
    other = second if second is not None else tuple(np.ones(axis.size) for axis in some)
    if any(a.size != b.size for a, b in zip(one, other, strict=False)) or len(one) != len(other):
        return None
    return tuple(weight * a + (1.0 - weight) * b for a, b in zip(one, other, strict=True))


def _evened(profile: Floats) -> Floats:
    mean = float(profile.mean())
    return profile / mean if mean > 0.0 else np.ones(profile.size)
