"""How a picture is drawn: noise levels, guidance, solvers, the loop."""
