"""The nano world: pictures of shapes drawn by code, what is said about them, and a judge that measures pixels.

`lightfusion bench shapes` asks a model for such pictures. It needs scipy, which ComfyUI brings.
"""

PARTS = ("text_to_image", "composition", "manners", "editing", "chains", "questions", "talk", "painting")
"""What the benchmark examines. Composition: three and four things, relations of three, sizes. Manners: GenEval's
prompts as strangers write them. Chains: five edits in a row. Talk: which kind of turn a sentence asks for, questions
that need an earlier turn, rewritten prompts. Painting: at a mask, beyond an edge, at 192 and 256 pixels. What is drawn
right is measured for its outlines too."""
