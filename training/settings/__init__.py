"""CONTRACT: the settings of every stage, one file each, named like the stage.

Every setting carries default, unit, range and help; pages, command line and API are made
from them. Standard library only; read them through `training.spec`.
"""
