"""Values: digests, configs, references, manifests. No file, socket, clock or environment is touched here."""
