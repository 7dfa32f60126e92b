"""What a classifier is worth: accuracy with intervals, errors by class, calibration, and paired comparisons."""
