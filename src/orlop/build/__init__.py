"""New layers and images, made by changes to others."""
