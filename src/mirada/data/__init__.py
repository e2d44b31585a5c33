"""The data that the systems learn from: images, squares, counts. All seeded; no other package is imported."""
