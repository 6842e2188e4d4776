"""The app: `python gradio_app.py` opens it in the browser, as `tlab app` does. A hosted Space runs the same file."""

if __name__ == "__main__":  # worker processes import this file too, and must not start a second server
    import sys

    from tlab.cli.commands import main

    sys.exit(main(["app", *sys.argv[1:]]))
