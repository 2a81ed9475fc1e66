"""Front doors that speak HTTP."""
