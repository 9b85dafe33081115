"""Pure values and arithmetic: no files, no clock, no global random state."""
