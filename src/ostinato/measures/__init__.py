"""What a recurrent network does with its gradient and its state, and how its training went, in numbers."""
