"""What is trained on: documents, their tokens on the disk, and the vocabulary."""
