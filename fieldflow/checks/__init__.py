"""One family of comparisons per file: what a formula claims, what the samples say, and a control that must fail."""
