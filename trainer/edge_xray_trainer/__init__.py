"""The workshop room that audits data, splits by patient, trains, calibrates and evaluates."""
