"""What is run in the environments of the benchmark's peers, and the versions that are put into them."""
