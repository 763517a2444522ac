"""The ground under every stage: atomic files, folders with done-marks, progress lines, versions."""
