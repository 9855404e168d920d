"""The command line `llmopt`. Importing this package loads nothing else; a command loads only what it runs."""


def main() -> None:
    """Run the command line on `sys.argv` and end the process with its exit code."""
    from .app import app

    app(prog_name="llmopt")
