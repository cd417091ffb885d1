"""Acceptance of the published systems: what was measured of each on local models, and whether everything else holds."""
