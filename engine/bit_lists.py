"""Rows of bits as short lists of the places that have a one."""

import torch
from torch import Tensor


def outer_ones(bits, count: int):
    """Keeps at most `count` ones of each row: the last, the first, the last but one, the second, and so on.

    Args:
        bits: bool [..., places], an array or a tensor.
        count: maximum of ones per row.
    """
    after = bits.sum(-1)[..., None] - bits.cumsum(-1)
    before = bits.cumsum(-1) - 1
    return bits & ((after < (count + 1) // 2) | (before < count // 2))


def code_lists(bits: Tensor, count: int) -> Tensor:
    """Lists the outer places with a one, in rising order, as codes. 2 * places fills the rest of a list.

    Args:
        bits: bool [..., 2 * places], two kinds of ones side by side. A place with both counts as the second kind.
        count: codes per list.

    Returns:
        int64 [..., count]: a place of the first kind, places + a place of the second.
    """
    first, second = bits.chunk(2, -1)
    places = first.shape[-1]
    place = torch.arange(places, device=bits.device)
    place = torch.where(outer_ones(first | second, count), place, places).sort(-1).values[..., :count]
    codes = place + places * second.gather(-1, place.clamp(max=places - 1))
    return torch.where(place < places, codes, 2 * places)
