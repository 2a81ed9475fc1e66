"""Store backends: the reference package's seven calls."""
