"""How a policy learns: imitation of the scripted teacher, then step-level GRPO.

torch, transformers, peft and trl are imported in the modules of this room, and this room is imported when a
training node runs, not before. `runs` and `schedule` need none of them.
"""
