from optimizers.recipe_subject import *
