"""What is done to scores before and while they become probabilities."""
