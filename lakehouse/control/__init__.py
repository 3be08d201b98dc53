"""The control catalog: runs, offsets, watermarks, counts, errors and files."""
