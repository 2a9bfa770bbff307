"""What comes of it: results, records, the report, the sentinel."""
