"""Bootstrap intervals of means and of paired differences: numbers come in, estimates go out. Writes no files."""
