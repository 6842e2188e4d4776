"""The app: `python gradio_app.py` opens it in the browser. A hosted Space runs the same file."""

if __name__ == "__main__":  # worker processes import this file too, and must not start a second server
    from tlab.ui.app import launch

    launch()
