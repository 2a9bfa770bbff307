"""NWB 2: one file a session, as archives and tools take it. Imported only when asked for; see docs/nwb.md."""
