from cli.recipe_call import *
