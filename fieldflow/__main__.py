"""``python -m fieldflow`` is the command line."""

from fieldflow.cli import main

if __name__ == "__main__":
    main()
