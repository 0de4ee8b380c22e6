"""clipgres: text-to-image and image-to-image search inside PostgreSQL."""
