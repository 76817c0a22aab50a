"""Credit, measured: is it given to the steps that caused the score, and what does a policy learn from it?

Streams of known kinds, scripted managers of known habits, the causal truth by replay, and how near each scheme comes;
a small policy trained by the project's own rewards. Python and numpy; no language model is needed.
"""
