"""A clear in batches: before-images, drift, verification."""
