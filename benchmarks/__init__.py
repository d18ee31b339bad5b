"""Side-by-side measurements: each runs both sides in one go, prints a table, and ends with one line of JSON."""
