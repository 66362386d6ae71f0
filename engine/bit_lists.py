"""Rows of bits as short lists of the places that have a one."""

import torch
from torch import Tensor


def outer_ones(bits, count: int):
    """The first, or all, of the ones of each row in this order: the last, the first, the last but one, and so on.

    Args:
        bits: bool [..., places], an array or a tensor.
        count: of the ones that are kept, at most.
    """
    after = bits.sum(-1)[..., None] - bits.cumsum(-1)
    before = bits.cumsum(-1) - 1
    return bits & ((after < (count + 1) // 2) | (before < count // 2))


def code_lists(bits: Tensor, count: int) -> Tensor:
    """The outer places with a one, in rising order, as codes; 2 * places in what is left of the list.

    Args:
        bits: bool [..., 2 * places], two kinds of ones side by side. A place with both has the second.
        count: codes of a list.

    Returns:
        int64 [..., count]: a place of the first kind, places + a place of the second.
    """
    first, second = bits.chunk(2, -1)
    places = first.shape[-1]
    place = torch.arange(places, device=bits.device)
    place = torch.where(outer_ones(first | second, count), place, places).sort(-1).values[..., :count]
    codes = place + places * second.gather(-1, place.clamp(max=places - 1))
    return torch.where(place < places, codes, 2 * places)
