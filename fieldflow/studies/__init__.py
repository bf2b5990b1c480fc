"""One kind of experiment per file: its keys, what it runs and what it compares."""
