"""What a model and its training are measured by, and what follows from it."""
