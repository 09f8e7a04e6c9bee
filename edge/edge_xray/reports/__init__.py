"""One module a format: a pure function from results to text."""
