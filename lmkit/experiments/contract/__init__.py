"""What an experiment is: its arms, one run of an arm, what all runs found, and the verdict."""
