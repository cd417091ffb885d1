from optimizers.recipe_program import *
