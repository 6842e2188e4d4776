"""The app in the browser. Only the files that build pages import Gradio; the worker's do not."""
