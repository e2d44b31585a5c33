"""The five systems as one would first write them: what mirada's speed is measured against."""
