"""The registry over the store: the OCI distribution protocol, for docker, podman, skopeo and whoever else speaks it."""
