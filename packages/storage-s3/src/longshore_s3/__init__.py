"""Storage on S3 and on any fsspec file system."""
