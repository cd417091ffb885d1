from programs.symbolic.recipe import *
