"""Go templates, as docker's ``--format`` takes them."""
