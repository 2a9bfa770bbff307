"""The open engine: the steps of isx.algo by code of this project, from published methods. It is not IDPS.

    steps/   a step a module: one public function of the module's name, with the parameters of its namesake in isx.algo
             and the keyword `context`
    cnmfe/   the model behind `run_cnmfe`: footprints, traces and background
    files/   reading and writing movies, cell sets, event sets and vessel sets
    *.py     what steps share

A step can be called from a notebook: `context` has defaults. It needs `recording` beside it, for the formats, and
NumPy, SciPy, Pillow and threadpoolctl; isx only for event and vessel sets. docs/open-engine.md says what each step
computes.
"""
