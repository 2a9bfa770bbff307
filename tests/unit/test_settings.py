"""Options and the places of their values."""

from __future__ import annotations

import dataclasses

from protocol.job import Options
from runner.settings import OPTIONS, Settings


def test_every_option_has_one_place_for_its_value():
    for option in OPTIONS:
        holder = Options if option.changes_results else Settings
        names = {field.name for field in dataclasses.fields(holder)}
        # The request itself has these: they are needed before.
        elsewhere = {"expected_output_file", "log_format", "run_id"}
        assert option.field in names | elsewhere
