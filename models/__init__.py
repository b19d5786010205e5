"""Bundles, tables and catalogues; enrolment, evaluation, training."""
