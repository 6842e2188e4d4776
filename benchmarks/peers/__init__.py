"""Other people's ways to train and to run the same transformer: each as fast as its users would write it."""
