"""Measurements; each module prints one JSON object (`_result.emit`)."""
