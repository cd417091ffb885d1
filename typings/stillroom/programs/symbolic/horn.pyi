from programs.symbolic.horn import *
