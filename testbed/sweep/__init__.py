"""Many campaigns: grids of them in worker processes, and the experiments made of such grids."""
