"""What is in an image, and whether it is what its source builds: inspect, bill of materials, verify."""
