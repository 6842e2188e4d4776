"""What trains: the worker process, the queue of runs, and what is kept of each run. Free of Gradio."""
