"""Other people's CSI: files of Wi-Fi CSI tools, read by their definitions, written as one NetCDF-4 convention."""
