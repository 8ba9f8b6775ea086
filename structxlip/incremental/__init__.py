"""Rows made once and kept: row groups, a parallel map over them, a row cache, derived artifacts."""
