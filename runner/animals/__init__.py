"""The stage after the recordings: each animal's cells, followed over its sessions by a worker of its own.

All that it knows of sessions is `WithCells`. Whoever decides what a session is makes those; the rest stays.
"""

from runner.animals.follow import follow as follow
