"""Follows the cells of one animal over its sessions: which footprints of different days are the same cell.

`follow` is the way in. The modules, in the order in which it uses them: `sessions` (what comes in), `transforms` (what
takes one field to another), `alignment` (finds them), `atlas` (the cells of all days on one map, and which days do not
belong on it), `matching` (who is who, and how sure that is), `result` (what comes out).
"""

from following.follow import follow
from following.result import Following, Pair
from following.sessions import Session
from following.transforms import Transform

__all__ = ["Following", "Pair", "Session", "Transform", "follow"]
