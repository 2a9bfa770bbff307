"""The normal distribution: its standard deviation by its median absolute deviation."""

from __future__ import annotations

MAD_TO_SD = 1.4826
SD_TO_MAD = 0.6745  # the other way, as Donoho and Johnstone (1994) and Iglewicz and Hoaglin (1993) round it
