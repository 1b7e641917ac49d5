"""A run on disk: the run folder, the writer process and its HDF5 record, reading, figures, the report."""
