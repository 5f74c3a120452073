"""How the nano model is made: its world of shapes, its training and its evaluation."""
