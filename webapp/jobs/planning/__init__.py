"""From five answers to a whole plan: pure functions, each with its formula and source.

`plan.make_plan` is the door. A setting is derived in the module of its stage; every
number that is not a formula stands in `constants.py` with where it comes from.
"""
